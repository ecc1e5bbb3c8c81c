"""`fewmask many VERB MANIFEST --out PLACE`: a list of videos, here or on a Ray cluster, from and to object stores."""

import sys
import time
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fewmask.cli.console import counted, note, say, say_json
from fewmask.cli.options import Device, Json
from fewmask.errors import VideoError
from fewmask.pipelines.mine_request import MineRequest
from fewmask.pipelines.segment_request import EveryObject, RunOptions

if TYPE_CHECKING:
    from fewmask.pipelines.many.once import Crew, UnitDone

app = typer.Typer(
    no_args_is_help=True,
    help="Many videos by many workers, each done exactly once; run it again after a crash, and only the rest is done.",
)

Manifest = Annotated[Path, typer.Argument(help="Text file: a video (path or s3:// address) a line, or name,video.")]
Place = Annotated[str, typer.Option("--out", help="Folder or s3:// address of the results.", metavar="PLACE")]
Workers = Annotated[int, typer.Option(min=1, help="Processes, or with --ray actors over all machines.")]
Ray = Annotated[
    str | None, typer.Option(help="Spread over a Ray cluster: its address, auto, or local.", metavar="ADDRESS")
]
Price = Annotated[
    float, typer.Option(min=0, help="Of one worker for an hour, to print what a thousand hours of video cost.")
]
PartMinutes = Annotated[float, typer.Option(min=0.01, help="Longer videos are shared out in parts of this length.")]


@app.command("segment")
def segment(
    manifest: Manifest,
    *,
    out: Place,
    workers: Workers = 1,
    ray: Ray = None,
    weights: Annotated[str, typer.Option(help="small (bundled), or a folder that every machine sees.")] = "small",
    precision: Annotated[str, typer.Option(help="auto, fp32, bf16 or fp16; auto depends on the machine.")] = "fp32",
    runtime: Annotated[str, typer.Option(help="torch, or on CPUs onnxruntime or openvino.")] = "torch",
    top_k: Annotated[int, typer.Option(min=1, help="Tracks in tracks.json.")] = 10,
    overlay: Annotated[bool, typer.Option(help="Write overlay.mp4.")] = False,
    masks: Annotated[bool, typer.Option(help="Write palette PNGs.")] = False,
    price: Price = 0.0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Segment every video as `fewmask segment` does, each into a folder of its name."""
    from fewmask.pipelines.early_checks import check_device, check_weights
    from fewmask.pipelines.many.manifest import read_manifest
    from fewmask.pipelines.many.segment import SegmentStep, segment_many

    videos = read_manifest(manifest)
    check_weights(weights)
    check_device(device)
    plan = RunOptions(source="", out=Path(), weights=weights, device=device, overlay=overlay, masks=masks)
    step = SegmentStep(EveryObject(precision=precision, top_k=top_k, runtime=runtime), plan)
    tally = _Tally(price)
    for number, done in enumerate(segment_many(videos, step, _crew(out, workers, ray, device)), 1):
        tally.add(done, number, len(videos))
    tally.tell(out, {}, f"{counted(len(videos) - len(tally.problems), 'video')} done", as_json=as_json)
    if len(tally.problems) == len(videos):
        raise VideoError(f"none of the {len(videos)} videos could be read; {next(iter(tally.problems.values()))}")


@app.command("index")
def index(
    manifest: Manifest,
    *,
    out: Place,
    workers: Workers = 1,
    ray: Ray = None,
    encoder: Annotated[str, typer.Option(help="small, fixed, or a folder that every machine sees.")] = "small",
    seconds: Annotated[float, typer.Option(min=0.2, max=3600, help="Longest clip, in seconds.")] = 5.0,
    part_minutes: PartMinutes = 10.0,
    price: Price = 0.0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Embed the videos; the pool is PLACE/pool, as `fewmask index` makes it."""
    from fewmask.pipelines.early_checks import check_device, check_weights
    from fewmask.pipelines.many.index import POOL, EmbedStep, index_many
    from fewmask.pipelines.many.manifest import read_manifest

    videos = read_manifest(manifest)
    check_weights(encoder)
    check_device(device)
    from fewmask.retrieval.embedders import load_embedder

    tally, step = _Tally(price), EmbedStep(partial(load_embedder, encoder, device=device), seconds)
    found = index_many(videos, step, _crew(out, workers, ray, device), part_seconds=60 * part_minutes, report=tally.add)
    tally.problems.update(found.problems)
    facts = {"videos": found.videos, "clips": found.clips, "copies": found.copies}
    said = f"{counted(found.clips, 'clip')} of {counted(found.videos, 'video')}"
    tally.tell(f"{out}/{POOL}", facts, said, as_json=as_json)
    if not found.clips and tally.problems:
        raise VideoError(f"none of the {len(videos)} videos could be read; {next(iter(tally.problems.values()))}")


@app.command("mine")
def mine(
    manifest: Manifest,
    *,
    out: Place,
    workers: Workers = 1,
    ray: Ray = None,
    proposals: Annotated[str, typer.Option(help="Where masks come from: minvis, maskrcnn or sam.")] = "minvis",
    weights: Annotated[str | None, typer.Option(help="Of the proposals; every machine sees them.")] = None,
    background: Annotated[
        Path | None, typer.Option(help="Other weights of the background network.", metavar="FILE")
    ] = None,
    flow: Annotated[str, typer.Option(help="dis (needs no weights) or raft.")] = "dis",
    settings: Annotated[
        Path | None, typer.Option(help="A TOML file with any of the mining settings.", metavar="FILE")
    ] = None,
    frame_step: Annotated[
        int | None, typer.Option(min=1, help="One frame in so many is looked at. [1]", show_default=False)
    ] = None,
    keep_every: Annotated[
        int | None, typer.Option(min=1, help="Of those, one in so many enters the dataset. [5]", show_default=False)
    ] = None,
    part_minutes: PartMinutes = 10.0,
    price: Price = 0.0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Mine the videos; the dataset is PLACE/mined, the same that `fewmask mine` makes of them."""
    from fewmask.pipelines.many.manifest import read_manifest

    videos = read_manifest(manifest)
    given = {"frame_step": frame_step, "keep_every": keep_every}
    request = MineRequest(
        videos=[video.source for video in videos], out=Path(), proposals=proposals, weights=weights,
        background=background, flow=flow, settings_file=settings,
        settings={name: value for name, value in given.items() if value is not None}, device=device, resume=True,
    )  # fmt: skip
    request.check()
    from fewmask.pipelines.many.mine import mine_many, mining_identity, mining_steps

    tally = _Tally(price)
    found = mine_many(
        videos, mining_steps(request), _crew(out, workers, ray, device), made_with=mining_identity(request),
        part_seconds=60 * part_minutes, report=tally.add, command=sys.argv,
    )  # fmt: skip
    tally.problems.update(found.problems)
    said = f"{counted(found.masks, 'mask')} in {counted(found.videos, 'video')}, {counted(found.tracks, 'track')}"
    facts = {"videos": found.videos, "masks": found.masks, "tracks": found.tracks}
    tally.tell(found.place, facts, said, as_json=as_json)


class Task(StrEnum):
    """How results are measured."""

    tracks = "tracks"
    davis = "davis"
    davis_given = "davis-semi-supervised"


@app.command("eval")
def evaluate(
    manifest: Manifest,
    *,
    out: Place,
    gt: Annotated[str, typer.Option(help="Ground truth: a YouTube-VIS file, or a folder of label maps; or address.")],
    pred: Annotated[str, typer.Option(help="Folder or address of the results, as `many segment` leaves them.")],
    task: Annotated[Task, typer.Option(help="AP of tracks, or J and F with ids assigned or given.")] = Task.tracks,
    class_agnostic: Annotated[
        bool, typer.Option("--class-agnostic", help="One class; category ids mean nothing.")
    ] = False,
    workers: Workers = 1,
    ray: Ray = None,
    as_json: Json = False,
) -> None:
    """Measure the results of the videos, whose names in the manifest are those of the ground truth."""
    from fewmask.pipelines.many.evaluate import DavisStep, TracksStep, evaluate_many
    from fewmask.pipelines.many.manifest import read_manifest

    videos = read_manifest(manifest)
    tally = _Tally(0.0)
    step: TracksStep | DavisStep = DavisStep(gt, pred, task is Task.davis)
    if task is Task.tracks:
        step = TracksStep(gt, pred, class_agnostic)
    found = evaluate_many(videos, step, _crew(out, workers, ray, "cpu"), report=tally.add)
    if not as_json:
        for name, value in found.figures.items():
            say(f"{name:<10}{'-' if value is None else f'{value:.4f}'}")
    tally.tell(out, {"figures": found.figures}, f"{counted(found.videos, 'video')} measured", as_json=as_json)


def _crew(out: str, workers: int, ray: str | None, device: str) -> "Crew":
    from fewmask.pipelines.many.once import Crew

    place = out if "://" in out else str(Path(out).absolute())
    return Crew(place, workers, ray, gpus=1 if device.startswith("cuda") else 0)


@dataclass
class _Tally:
    """Tells of every unit, and in the end of problems, time and cost."""

    price: float
    problems: dict[str, str] = field(default_factory=dict)
    videos: list[dict[str, Any]] = field(default_factory=list)
    worked_s: float = 0.0
    shown_s: float = 0.0
    began: float = field(default_factory=time.perf_counter)

    def add(self, done: "UnitDone", number: int, of: int) -> None:
        """A line on standard error."""
        if done.problem is not None:
            self.problems[done.unit.name] = done.problem
        self.worked_s += done.worked_s
        if done.worked_s:  # what an earlier run did costs nothing now
            self.shown_s += float(done.unit.facts.get("video_s", done.facts.get("video_s", 0.0)))
        self.videos.append({"key": done.unit.key, **done.facts, "worked_s": done.worked_s, "problem": done.problem})
        frames = f"{counted(done.facts['frames'], 'frame')}, " if "frames" in done.facts else ""
        note(f"{number}/{of} {done.unit.key}: {done.problem or f'{frames}{done.worked_s:.1f} s'}")

    def tell(self, place: str, facts: dict[str, Any], said: str, *, as_json: bool) -> None:
        """The end."""
        took = time.perf_counter() - self.began
        hours = 1000 * self.worked_s / self.shown_s if self.shown_s else None
        if as_json:
            say_json(
                {
                    "out": place, **facts, "units": self.videos, "problems": self.problems, "seconds": took,
                    "worker_hours_per_1000_hours": hours,
                }
            )  # fmt: skip
            return
        for name, problem in self.problems.items():
            note(f"{name}: {problem}")
        say(f"{place}: {said}, {len(self.problems)} with problems, {took:.0f} s")
        if hours is not None:
            cost = f", {hours * self.price:.2f} at {self.price:g} an hour" if self.price else ""
            say(f"a thousand hours of video take {hours:.0f} worker hours{cost}")
