"""How a clip index lies on disk so that a crash at any write leaves it readable.

    index.json                 the manifest: names every other file that counts; replaced whole
    checkpoint-000012.faiss    the vectors and their structure
    checkpoint-000012.json     the id of every row
    journal-000013.npz         additions and removals since, in order, one file per change
    journal-000014.npz

A change writes its files first and the manifest last, so the manifest always names complete files. What a crash leaves
behind is named by no manifest and is swept away by the next checkpoint.
"""

import contextlib
import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import faiss
import numpy as np

from fewmask.errors import FewmaskError
from fewmask.media.atomic import whole_file, write_json
from fewmask.retrieval import nearest
from fewmask.retrieval.exact_scan import Form, Structure, Vectors
from fewmask.retrieval.nearest import Kind

ClipId = str | int
MANIFEST = "index.json"
FORMAT = 1
_OWN_FILE = re.compile(r"^((checkpoint|journal)-\d+|\.((checkpoint|journal)-\d+|index)\.\d+\.part)\.(faiss|json|npz)$")


@dataclass(frozen=True)
class Manifest:
    """What the index consists of.

    Attributes:
        dimension: size of a vector.
        kind: what the owner asked for.
        generation: counts the changes.
        checkpoint: generation of the checkpoint files, 0 if there are none.
        form: the structure of the checkpoint.
        effort: of its searches, see ``Structure``.
        built_with: entries when the structure was built.
        journal: generations of the journal files to replay, in order.
        about: what the owner wants to remember of the vectors, such as the encoder's name.
        format: version of this layout.
    """

    dimension: int
    kind: Kind
    generation: int = 0
    checkpoint: int = 0
    form: Form = "exact"
    effort: int = 0
    built_with: int = 0
    journal: tuple[int, ...] = ()
    about: dict[str, str] = field(default_factory=dict)
    format: int = FORMAT


@dataclass(frozen=True)
class Change:
    """One journal entry: ids taken out, then ids entered with their vectors [M, D]."""

    removed: list[ClipId]
    added: list[ClipId]
    vectors: Vectors


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of ``folder``, or None if it holds none.

    Raises:
        FewmaskError: the file is not a manifest, or one of a later version.
    """
    path = folder / MANIFEST
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise FewmaskError(f"{path}: cannot be read ({error}); is {folder} a clip index?") from error
    if not isinstance(raw, dict) or raw.get("format") != FORMAT:
        raise FewmaskError(f"{path}: not a clip index of version {FORMAT}; write it again with `fewmask index`")
    if "probes" in raw:  # from before there were codes
        raw["effort"] = raw.pop("probes")
        raw["form"] = "clustered" if raw["effort"] else "exact"
    try:
        return Manifest(**{**raw, "journal": tuple(raw["journal"])})
    except (KeyError, TypeError) as error:
        raise FewmaskError(f"{path}: incomplete ({error}); write it again with `fewmask index`") from error


def write_change(folder: Path, manifest: Manifest, change: Change) -> Manifest:
    """Append ``change`` to the journal; returns the new manifest, already on disk."""
    require_unchanged(folder, manifest)
    generation = manifest.generation + 1
    with whole_file(folder / f"journal-{generation:06d}.npz") as temporary, temporary.open("wb") as handle:
        np.savez(handle, names=_text_array([change.removed, change.added]), vectors=change.vectors)
    return _commit(folder, replace(manifest, generation=generation, journal=(*manifest.journal, generation)))


def write_checkpoint(folder: Path, manifest: Manifest, structure: Structure, ids: dict[int, ClipId]) -> Manifest:
    """Write the whole structure and forget the journal; returns the new manifest, already on disk.

    What it no longer names is left for ``sweep``.

    Args:
        folder: of the index.
        manifest: the one in force.
        structure: all entries.
        ids: row number to id, for every entry.
    """
    require_unchanged(folder, manifest)
    generation = manifest.generation + 1
    name = folder / f"checkpoint-{generation:06d}"
    with whole_file(name.with_suffix(".faiss")) as temporary:
        faiss.write_index(structure.faiss_index, str(temporary))
    write_json(name.with_suffix(".json"), [list(ids), list(ids.values())])
    return _commit(
        folder,
        replace(
            manifest,
            generation=generation,
            checkpoint=generation,
            form=structure.form,
            effort=structure.effort,
            built_with=structure.built_with,
            journal=(),
        ),
    )


def read_checkpoint(folder: Path, manifest: Manifest) -> tuple[Structure, dict[int, ClipId]]:
    """The structure and the row-to-id table of the checkpoint that ``manifest`` names.

    Raises:
        FewmaskError: a file is missing or damaged.
    """
    name = folder / f"checkpoint-{manifest.checkpoint:06d}"
    with _readable(name):
        rows, ids = json.loads(name.with_suffix(".json").read_text(encoding="utf-8"))
        index = _read_faiss(name.with_suffix(".faiss"))
        if not len(rows) == len(ids) == index.ntotal or index.d != manifest.dimension:
            raise ValueError(f"{len(ids)} ids for {index.ntotal} vectors of size {index.d}")
        structure = nearest.read(manifest.form, index, manifest.effort, manifest.built_with)
    return structure, dict(zip(rows, ids, strict=True))


def read_journal(folder: Path, manifest: Manifest) -> Iterator[Change]:
    """The changes since the checkpoint, in order.

    Raises:
        FewmaskError: a file is missing or damaged.
    """
    for generation in manifest.journal:
        path = folder / f"journal-{generation:06d}.npz"
        with _readable(path):
            with path.open("rb") as handle, np.load(handle, allow_pickle=False) as stored:
                removed, added = json.loads(stored["names"].tobytes().decode("utf-8"))
                vectors = stored["vectors"]
            if vectors.shape != (len(added), manifest.dimension):
                raise ValueError(f"{len(added)} ids for vectors of shape {vectors.shape}")
        yield Change(removed, added, vectors)


def create(folder: Path, manifest: Manifest) -> Manifest:
    """Write the first manifest of an index; returns it."""
    return _commit(folder, manifest)


def _commit(folder: Path, manifest: Manifest) -> Manifest:
    write_json(folder / MANIFEST, asdict(manifest), indent=1)
    return manifest


def require_unchanged(folder: Path, manifest: Manifest) -> None:
    """Make sure that ``manifest`` is the one on disk.

    Raises:
        FewmaskError: another process has changed the index.
    """
    current = read_manifest(folder)
    if current is None or current.generation != manifest.generation:
        raise FewmaskError(f"{folder}: changed by another process since it was opened; open it again")


def sweep(folder: Path, manifest: Manifest) -> None:
    """Delete the files of this layout that ``manifest`` does not name; failing to is harmless."""
    named = {f"journal-{generation:06d}" for generation in manifest.journal} | {f"checkpoint-{manifest.checkpoint:06d}"}
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if _OWN_FILE.match(path.name) and path.stem not in named:
                path.unlink()


@contextlib.contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, EOFError, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0][:200]
        raise FewmaskError(f"{path}: damaged ({reason}); build the index again with `fewmask index`") from error


def _read_faiss(path: Path) -> Any:
    try:
        return faiss.read_index(str(path))
    except RuntimeError:
        path.stat()  # a missing file, swept by a writer just now, is reported as such; faiss has one error for all
        raise


def _text_array(value: Any) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.frombuffer(json.dumps(value).encode("utf-8"), np.uint8)
