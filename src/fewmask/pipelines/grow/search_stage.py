"""The stages *find* and *keep*: look for the kinds where they may be, judge what was seen, write it down."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from fewmask.datasets.json_file import load_object
from fewmask.errors import DatasetError, VideoError
from fewmask.media.atomic import write_json
from fewmask.minvis.stream import MinVIS
from fewmask.pipelines.grow.agreement import Evidence, Verdict, judge
from fewmask.pipelines.grow.find import Background, FoundVideo, find_in_video
from fewmask.pipelines.grow.found_looks import look_at
from fewmask.pipelines.grow.groups import Vectors
from fewmask.pipelines.grow.kept_dataset import JudgedVideo, write_kept
from fewmask.pipelines.grow.kept_sheet import draw_kept
from fewmask.pipelines.grow.kinds import Kinds, read_vectors, write_vectors
from fewmask.pipelines.grow.track_looks import TrackLooks
from fewmask.vipmt.model import VIPMT

HOLD_OUT = 4
"""Of the videos that show a kind, one in so many is held out."""
Judged = tuple[list[JudgedVideo], dict[tuple[str, int], Vectors]]


def find_stage(
    folder: Path,
    sources: Mapping[str, str],
    kinds: Kinds,
    few_shot: VIPMT,
    model: MinVIS,
    background: Background,
    step: int,
    progress: Callable[[str, int, int], None],
) -> dict[str, Any]:
    """Look through videos; each becomes a file when it is done, so that a killed stage goes on with the next.

    Args:
        folder: of the stage.
        sources: name -> source of the videos to search.
        kinds: all of them are looked for in every video, for each is the others' rival.
        few_shot: shows where a kind is.
        model: tells objects apart.
        background: tells objects from background.
        step: one frame in so many is looked at.
        progress: told (name, videos done, videos).
    """
    fitted = few_shot.fit(kinds.supports())
    problems: dict[str, str] = {}
    for done, (name, source) in enumerate(sources.items(), 1):
        path = folder / f"{name}.json"
        try:
            if path.is_file():
                found = FoundVideo.read(path)
            else:
                found = find_in_video(name, source, fitted, model, background, step=step)
                found.write(path)
            if found.note is not None:
                problems[name] = found.note
        except VideoError as error:
            problems[name] = str(error)
        progress(name, done, len(sources))
    there = [name for name in sources if (folder / f"{name}.json").is_file()]
    return {"videos": there, "problems": problems}


def keep_stage(
    folder: Path,
    found: Path,
    names: Sequence[str],
    kinds: Kinds,
    looks: TrackLooks,
    keep: float,
    keep_every: int,
    held_out: Sequence[str] | None,
) -> dict[str, Any]:
    """Judge every object that was found, and write what is kept as a dataset.

    Args:
        folder: of the stage; gets ``instances.json``, ``ytvis.json``, ``images/``, ``verdicts.json`` and a sheet per
            kind.
        found: folder of the stage find.
        names: of its videos, in order.
        kinds: by whose examples is judged.
        looks: embeds what was found.
        keep: least confidence of what is kept.
        keep_every: of the frames looked at, one in so many enters the dataset.
        held_out: videos that are not trained on; None = chosen here, among those that show a kind.
    """
    videos: list[JudgedVideo] = []
    keys: list[list[Any]] = []
    vectors: list[Vectors] = []
    for name in names:
        seen = FoundVideo.read(found / f"{name}.json")
        verdicts = {}
        for track_id, vector in look_at(seen, looks).items():
            track = next(track for track in seen.tracks if track.track == track_id)
            verdicts[track_id] = judge(
                track, vector, [kind.vectors for kind in kinds.kinds], kinds.other_vectors, keep=keep
            )
            keys.append([name, track_id])
            vectors.append(vector)
        videos.append(JudgedVideo(seen, verdicts))
    showing = [video.found.video for video in videos if video.tracks("kept")]
    if held_out is None:
        held_out = showing[HOLD_OUT // 2 :: HOLD_OUT] if len(showing) > 2 else []
    counts = write_kept(folder, videos, kinds.names, keep_every, held_out=frozenset(held_out))
    draw_kept(folder)
    dimension = vectors[0].shape[0] if vectors else looks.dimension
    write_vectors(folder / "vectors.npy", np.stack(vectors) if vectors else np.zeros((0, dimension), np.float32))
    write_json(
        folder / "verdicts.json",
        {
            "tracks": keys,
            "verdicts": {
                video.found.video: {
                    str(track): {"kind": v.kind, "decision": v.decision, "evidence": asdict(v.evidence)}
                    for track, v in video.verdicts.items()
                }
                for video in videos
            },
        },
    )
    by_kind = {
        name: sum(verdict.decision == "kept" and verdict.kind == kind
                  for video in videos for verdict in video.verdicts.values())
        for kind, name in enumerate(kinds.names)
    }  # fmt: skip
    return {**counts, "kept": by_kind, "showing": showing, "held_out": list(held_out)}


def read_judged(kept: Path, found: Path, names: Sequence[str]) -> Judged:
    """What `keep_stage` decided: the videos with their verdicts, and what their tracks look like.

    Raises:
        DatasetError: damaged.
    """
    path = kept / "verdicts.json"
    record = load_object(path)
    try:
        vectors = read_vectors(kept / "vectors.npy")
        known = {
            (str(name), int(track)): vector for (name, track), vector in zip(record["tracks"], vectors, strict=True)
        }
        videos = [
            JudgedVideo(
                FoundVideo.read(found / f"{name}.json"),
                {
                    int(track): Verdict(int(v["kind"]), Evidence(**v["evidence"]), str(v["decision"]))
                    for track, v in record["verdicts"][name].items()
                },
            )
            for name in names
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(f"{path}: damaged ({error}); delete the folder to do this stage again") from error
    return videos, known
