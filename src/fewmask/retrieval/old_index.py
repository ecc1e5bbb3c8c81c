"""Indexes of before there was a database: read once, converted, then deleted.

They consisted of ``index.json``, a faiss checkpoint with its ids, a journal of changes since, and ``videos.json``.
"""

import contextlib
import json
import re
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from fewmask.errors import FewmaskError
from fewmask.media.own_files import reading_arrays
from fewmask.retrieval import clip_rows, database
from fewmask.retrieval.clip_rows import ClipId, ClipRow, Rows, Vectors
from fewmask.retrieval.database import Database

_MANIFEST, _VIDEOS = "index.json", "videos.json"
_OWN_FILE = re.compile(r"^((checkpoint|journal)-\d+|\.((checkpoint|journal)-\d+|index)\.\d+\.part)\.(faiss|json|npz)$")


def is_one(folder: Path) -> bool:
    """Whether a folder holds such an index."""
    return (folder / _MANIFEST).is_file()


def convert(folder: Path) -> None:
    """Write all that the old files say into a database beside them, then delete them.

    What its clips look like was kept in another way; it is looked up in the videos when it is next asked for.

    Raises:
        FewmaskError: a file is missing or damaged, or the folder cannot be written.
    """
    with _readable(folder / _MANIFEST):
        manifest = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        if manifest["format"] != 1:
            raise ValueError(f"version {manifest['format']}")
        dimension, journal, about = int(manifest["dimension"]), list(manifest["journal"]), dict(manifest["about"])
        facts = database.new_facts(dimension, str(manifest["kind"]), {str(key): str(about[key]) for key in about})
        checkpoint, generations = int(manifest["checkpoint"] or 0), [int(generation) for generation in journal]
    clips: dict[ClipId, Vectors] = {}
    if checkpoint:
        name = folder / f"checkpoint-{checkpoint:06d}"
        with _readable(name):
            clips = _checkpoint(name, dimension)
    for generation in generations:
        path = folder / f"journal-{generation:06d}.npz"
        with _readable(path):
            with path.open("rb") as handle, np.load(handle, allow_pickle=False) as stored:
                removed, added = json.loads(stored["names"].tobytes().decode("utf-8"))
                vectors = stored["vectors"]
            if vectors.shape != (len(added), dimension) or vectors.dtype != np.float32:
                raise ValueError(f"{len(added)} ids for vectors of shape {vectors.shape}")
            for gone in removed:
                del clips[gone]
            clips |= dict(zip(added, vectors, strict=True))
    with _readable(folder / _MANIFEST):
        rows = [ClipRow(clip, vector) for clip, vector in clips.items()]
        lengths = np.array([np.linalg.norm(row.vector) for row in rows])
        if not np.allclose(lengths, 1, atol=1e-3):
            raise ValueError("vectors that have not length 1")
    records: dict[str, str] = {}
    with _readable(folder / _VIDEOS):
        if (folder / _VIDEOS).exists():
            for video, record in json.loads((folder / _VIDEOS).read_text(encoding="utf-8")).items():
                looks = record.pop("looks")
                records[video] = json.dumps({**record, "clips": len(looks)})
    with Database(folder).writing(facts) as connection:
        clip_rows.enter(connection, rows)
        clip_rows.put_videos(connection, records)
    sweep(folder)


def _checkpoint(name: Path, dimension: int) -> dict[ClipId, Vectors]:
    numbers, ids = json.loads(name.with_suffix(".json").read_text(encoding="utf-8"))
    path = name.with_suffix(".faiss")
    size = path.stat().st_size  # a missing file is reported as such; faiss has one error for all
    if hasattr(faiss, "set_deserialization_vector_byte_limit"):
        faiss.set_deserialization_vector_byte_limit(4 * size + (1 << 24))
    rows, vectors = _entries(faiss.read_index(str(path)))
    if vectors.shape != (len(ids), dimension) or not len(rows) == len(ids) == len(numbers):
        raise ValueError(f"{len(ids)} ids for vectors of shape {vectors.shape}")
    place = {int(row): position for position, row in enumerate(rows)}
    return {clip: vectors[place[row]] for row, clip in zip(numbers, ids, strict=True)}


def _entries(index: Any) -> tuple[Rows, Vectors]:
    """Row numbers and vectors of any of the three structures there were."""
    whole = index  # frees its parts when it goes
    if isinstance(whole, faiss.IndexRefine):  # codes first, then the vectors
        index = faiss.downcast_index(whole.refine_index)
    if isinstance(index, faiss.IndexIDMap2):
        return faiss.vector_to_array(index.id_map), faiss.downcast_index(index.index).reconstruct_n(0, index.ntotal)
    if not isinstance(index, faiss.IndexIVFFlat):
        raise ValueError(f"a {type(index).__name__} in place of vectors")
    lists: Any = index.invlists
    rows, vectors = [np.empty(0, np.int64)], [np.empty((0, index.d), np.float32)]
    for number in range(index.nlist):
        if size := lists.list_size(number):
            rows.append(faiss.rev_swig_ptr(lists.get_ids(number), size).copy())
            stored = faiss.rev_swig_ptr(lists.get_codes(number), size * index.d * 4)
            vectors.append(stored.copy().view(np.float32).reshape(size, index.d))
    return np.concatenate(rows), np.concatenate(vectors)


def sweep(folder: Path) -> None:
    """Delete the old files; failing to is harmless."""
    with contextlib.suppress(OSError):
        (folder / _VIDEOS).unlink(missing_ok=True)
        for path in folder.iterdir():
            if _OWN_FILE.match(path.name):
                path.unlink()
        (folder / _MANIFEST).unlink()


def _readable(path: Path) -> contextlib.AbstractContextManager[None]:
    return reading_arrays(path, "build the index again with `fewmask index`", error=FewmaskError)
