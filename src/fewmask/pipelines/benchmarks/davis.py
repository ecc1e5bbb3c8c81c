"""DAVIS 2016 and 2017 unsupervised: MinVIS tracks as label maps, measured as the official evaluation does.

Twenty tracks are the most that the evaluation takes; where masks overlap the higher score is on top. "Best track" is
the one with the highest score, as if there were one object.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fewmask.datasets.draws import ranked
from fewmask.datasets.video_list import listed_videos
from fewmask.metrics.davis import davis_figures, evaluate_davis
from fewmask.metrics.davis_unsupervised import MAX_PROPOSALS
from fewmask.minvis.stream import MinVIS
from fewmask.minvis.stream_settings import StreamSettings
from fewmask.pipelines.benchmarks.bench import Bench
from fewmask.pipelines.benchmarks.layout import check_frames
from fewmask.pipelines.benchmarks.paper import DAVIS_2017
from fewmask.pipelines.benchmarks.report import Row, Table, mean_row

BEST, ALL = "best track", f"{MAX_PROPOSALS} tracks"


def check_data(places: Mapping[str, Path]) -> None:
    """Whether every listed video has frames, and a label map for each.

    Raises:
        DatasetError: names the first that is missing.
    """
    for name in listed_videos(places["list"]):
        check_frames(places["frames"].parent, [f"{places['frames'].name}/{name}/00000.jpg"])
        frames = sorted((places["frames"] / name).glob("*.jpg"))
        check_frames(places["masks"], [f"{name}/{frame.stem}.png" for frame in frames])


def tables(bench: Bench) -> Iterator[Table]:
    """The one table."""
    names = listed_videos(bench.places["list"])
    if bench.request.limit:
        names = ranked(names, "benchmark", "limit")[: bench.request.limit]
    given = {"videos": names, "weights": bench.request.weights}
    found = bench.stages.run("tracks", given, lambda folder: _segment(bench, folder, names), resumes=True)
    rows = [_measured(bench, found.folder, names, kind) for kind in (BEST, ALL)]
    if bench.request.name == "davis17-unsupervised":
        rows += [Row(name, {}, paper) for name, paper in DAVIS_2017.items()]
    note = f"{len(names)} videos of the validation set, weights {bench.request.weights or 'small'}."
    yield Table("DAVIS unsupervised", tuple(rows), note)


def _segment(bench: Bench, folder: Path, names: Sequence[str]) -> Mapping[str, Any]:
    model = MinVIS.from_pretrained(bench.request.weights or "small", device=str(bench.device))
    for done, name in enumerate(names, 1):
        if not (folder / BEST / name).is_dir():
            frames = sorted((bench.places["frames"] / name).glob("*.jpg"))
            video = model.segment(frames, StreamSettings(top_k=MAX_PROPOSALS))
            video.to_davis(folder / ALL / name)
            best = max(video.tracks, key=lambda track: track.score)
            replace(video, tracks=(best,)).to_davis(folder / f".{name}.part")
            (folder / BEST).mkdir(exist_ok=True)
            (folder / f".{name}.part").rename(folder / BEST / name)
        bench.progress("videos segmented", done, len(names))
    return {"videos": len(names)}


def _measured(bench: Bench, folder: Path, names: Sequence[str], kind: str) -> Row:
    def work(_: Path) -> Mapping[str, Any]:
        scores = [
            score
            for name in names
            for score in evaluate_davis(bench.places["masks"] / name, folder / kind / name, unsupervised=True)
        ]
        return davis_figures(scores)

    stage = bench.stages.run(f"figures/{kind}", {"videos": list(names), "weights": bench.request.weights}, work)
    return mean_row(kind, [stage.outcome], {})
