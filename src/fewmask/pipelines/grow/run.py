"""`fewmask grow`: mine, group, retrieve, find, keep, teach, and again, in one resumable run.

    pool ─► mined ─► groups ─► supports ─► retrieve ─► find ─► keep ─► teach ─► measure
                                   ▲                                              │
                                   └───────────── the surest of what was kept ◄───┘

Every arrow is a folder that can be looked at. What a stage needs is in the records and files of those before it, so a
killed run goes on where it was, and a changed choice of groups redoes what follows it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fewmask.errors import DatasetError
from fewmask.media.find_videos import find_videos
from fewmask.media.run_directory import RunDirectory
from fewmask.mining.background_net import BackgroundNet
from fewmask.mining.mine_videos import unique_names
from fewmask.minvis.stream import MinVIS
from fewmask.models.device import resolve_device
from fewmask.pipelines.grow.group_choice import choose
from fewmask.pipelines.grow.group_stage import group_tracks, read_groups
from fewmask.pipelines.grow.groups import Vectors
from fewmask.pipelines.grow.hint import read_hint
from fewmask.pipelines.grow.kept_dataset import PARTS
from fewmask.pipelines.grow.kind_stage import grouped_kinds, next_kinds, shown_kind
from fewmask.pipelines.grow.kinds import Kinds, read_kinds
from fewmask.pipelines.grow.linked_copy import linked_copy
from fewmask.pipelines.grow.measure import agreement
from fewmask.pipelines.grow.report_page import write_report
from fewmask.pipelines.grow.request import GrowRequest
from fewmask.pipelines.grow.retrieve_stage import retrieve_stage
from fewmask.pipelines.grow.rounds import Round, rose
from fewmask.pipelines.grow.search_stage import find_stage, keep_stage, read_judged
from fewmask.pipelines.grow.stages import Stage, Stages
from fewmask.pipelines.grow.support_pictures import Example
from fewmask.pipelines.grow.teach import teach_background, teach_segmenter
from fewmask.pipelines.grow.track_looks import TrackLooks
from fewmask.pipelines.mine import MinvisProposals, run_mine
from fewmask.pipelines.mine_request import MineRequest
from fewmask.retrieval.embedders import FIXED, SMALL, load_embedder
from fewmask.retrieval.pool import Pool
from fewmask.vipmt.model import VIPMT
from fewmask.vipmt.support import read_support

NOTHING_STANDS_OUT = (
    "no group is large, tight and confident enough to be taught; look at the sheets in {folder} and pick with --group, "
    "or show what you want with --like"
)


@dataclass(frozen=True)
class GrowSummary:
    """What came of a run; ``weights`` and ``dataset`` are None where it stopped earlier; ``problems`` by video."""

    out: Path
    rounds: tuple[Round, ...]
    best: int | None
    dataset: Path | None
    weights: Path | None
    report: Path
    problems: dict[str, str]


def run_grow(
    request: GrowRequest,
    began: Callable[[str], None] = lambda _: None,
    progress: Callable[[str, int, int | None], None] = lambda *_: None,
) -> GrowSummary:
    """Run the loop, or go on with it.

    Args:
        request: checked here.
        began: told the name of every stage that begins.
        progress: told (what, done, total) inside a stage.

    Raises:
        FewmaskError: anything wrong with the request, the weights or the folder; bad videos are skipped and listed.
    """
    request.check()
    run = RunDirectory.create(
        request.out,
        command=list(request.command),
        inputs={"videos": list(request.videos), "like": [str(path) for path in request.like],
                "weights": request.weights, "few_shot": request.few_shot,
                "background": request.background, "labelled": request.labelled},
        settings={"frame_step": request.frame_step, "keep_every": request.keep_every, "keep": request.keep,
                  "clips": request.clips, "steps": request.steps, "name": request.name, "seed": request.seed,
                  "most": request.most},
        resume=request.resume,
    )  # fmt: skip
    with run:
        summary = _Loop(request, Stages(run.path, began), progress).go()
        run.update({"best": summary.best, "rounds": [done.agreement for done in summary.rounds]})
        run.finish()
    return summary


class _Loop:
    """One run's loop; models are loaded when a stage that is not done needs them."""

    def __init__(self, request: GrowRequest, stages: Stages, progress: Callable[[str, int, int | None], None]) -> None:
        self._request, self._stages, self._progress = request, stages, progress
        self._device = str(resolve_device(request.device))
        self._sources = dict(zip(unique_names(request.videos), map(str, request.videos), strict=True))
        self._looks_loaded: TrackLooks | None = None
        self._weights = request.weights
        self._background = request.background
        self._held_out: list[str] | None = None

    def go(self) -> GrowSummary:
        request = self._request
        pool = self._stages.run("pool", {"videos": list(self._sources.values())}, self._index, resumes=True)
        mined = self._stages.run("mined", {"frame_step": request.frame_step, "keep_every": request.keep_every},
                                 self._mine, resumes=True)  # fmt: skip
        rounds: list[Round] = []
        before: tuple[Kinds, Stage, Stage] | None = None
        groups = self._stages.run("groups", {"mined": mined.digest}, lambda folder: self._group(folder, mined))
        for number in range(1, request.rounds + 1):
            if request.until == "groups":
                break
            done, before = self._round(number, pool, mined, groups, before)
            rounds.append(done)
            if before is None or not rose(rounds):
                break
        return self._finish(rounds, mined, groups)

    def _round(
        self, number: int, pool: Stage, mined: Stage, groups: Stage, before: tuple[Kinds, Stage, Stage] | None
    ) -> tuple[Round, tuple[Kinds, Stage, Stage] | None]:
        """One round, and what the next one starts from; None where the run is to stop here."""
        request, name = self._request, f"round-{number}"
        given: dict[str, Any] = {"groups": groups.digest, "choice": request.choice.model_dump(mode="json")}
        if before is not None:
            given = {"keep": before[2].digest}
        supports = self._stages.run(
            f"{name}/supports", given, lambda folder: self._supports(folder, mined, groups, before)
        )
        kinds = read_kinds(supports.folder, read_support(supports.folder / "supports"))
        done: dict[str, Stage] = {"supports": supports}
        if request.until == "supports":
            return Round(number, done, None), None
        where = self._stages.run(
            f"{name}/retrieve",
            {"supports": supports.digest, "pool": pool.digest, "skip": "retrieve" in request.skip},
            lambda _: self._retrieve(kinds, pool, groups),
        )
        sources = {video: self._sources[video] for video in where.outcome["videos"]}
        found = self._stages.run(
            f"{name}/find",
            {"supports": supports.digest, "videos": list(sources), "weights": self._identity()},
            lambda folder: self._find(folder, sources, kinds),
            resumes=True,
        )
        kept = self._stages.run(
            f"{name}/keep",
            {"find": found.digest, "supports": supports.digest, "keep": request.keep, "held_out": self._held_out},
            lambda folder: keep_stage(
                folder, found.folder, found.outcome["videos"], kinds, self._looks, request.keep, request.keep_every,
                self._held_out,
            ),
        )  # fmt: skip
        self._held_out = list(kept.outcome["held_out"])
        done |= {"retrieve": where, "find": found, "keep": kept}
        if request.until == "keep" or "teach" in request.skip:
            return Round(number, done, None), None
        if not kept.outcome["masks"]:
            raise DatasetError(f"{kept.folder}: nothing was kept; lower --keep, or show more examples with --like")
        return self._taught(number, kinds, done), (kinds, found, kept)

    def _taught(self, number: int, kinds: Kinds, done: dict[str, Stage]) -> Round:
        request, name, kept = self._request, f"round-{number}", done["keep"]
        taught = self._stages.run(
            f"{name}/teach",
            {"keep": kept.digest, "weights": self._identity(), "steps": request.steps},
            lambda folder: teach_segmenter(
                folder, kept.folder, self._weights, request, lambda line: self._progress("teach", line, request.steps)
            ),
            resumes=True,
        )
        done["teach"] = taught
        self._weights = str(taught.folder / "weights")
        if "background" not in request.skip:
            learned = self._stages.run(
                f"{name}/background",
                {"keep": kept.digest, "before": str(self._background)},
                lambda folder: teach_background(folder, kept.folder, self._background, request),
                resumes=True,
            )
            done["background"] = learned
            self._background = learned.folder / "background.safetensors"
        measured = self._stages.run(
            f"{name}/measure",
            {"teach": taught.digest, "keep": kept.digest},
            lambda _: self._measure(kinds, done["find"], kept),
        )
        done["measure"] = measured
        return Round(number, done, measured.outcome["j"])

    def _index(self, folder: Path) -> dict[str, Any]:
        pool = Pool.open(folder / "pool")
        local = [Path(source) for source in self._sources.values() if "://" not in source and Path(source).exists()]
        embedder = load_embedder(SMALL, device=self._device)
        pool.add(find_videos(local), embedder, report=lambda at: self._progress("index", at.done, at.total))
        return {"clips": len(pool.index), "embedder": embedder.name}

    def _mine(self, folder: Path) -> dict[str, Any]:
        request = self._request
        mining = MineRequest(
            list(self._sources.values()), folder / "dataset", weights=self._weights, background=self._background,
            settings={"frame_step": request.frame_step, "keep_every": request.keep_every},
            workers=request.workers, ray=request.ray, device=request.device,
            resume=(folder / "dataset").exists(),
        )  # fmt: skip
        summary = run_mine(mining, lambda _, done, total: self._progress("mine", done, total))
        results = [f"{video.name}.json" for video in summary.videos]
        there = [name for name in results if (folder / "dataset" / "results" / name).is_file()]
        problems = {video.name: why for video in summary.videos if (why := video.skipped or video.note)}
        return {"results": there, "tracks": summary.tracks_to_review, "problems": problems}

    @property
    def _looks(self) -> TrackLooks:
        if self._looks_loaded is None:
            embedders = [load_embedder(name, device=self._device) for name in (FIXED, SMALL)]
            self._looks_loaded = TrackLooks(embedders, MinVIS.from_pretrained(device=self._device).segmenter)
        return self._looks_loaded

    def _look_of(self, shown: Sequence[Example]) -> Vectors:
        return self._looks.embed([self._looks.objects(example.rgb, [example.mask]) for example in shown])

    def _hint(self) -> tuple[list[Example], list[Example]]:
        return read_hint(self._request.like, lambda: MinvisProposals(self._request.weights, self._device).propose)

    def _group(self, folder: Path, mined: Stage) -> dict[str, Any]:
        request, dataset = self._request, mined.folder / "dataset"
        hint = None
        if request.like:
            shown, _ = self._hint()
            hint = self._look_of(shown)
        results = [dataset / "results" / name for name in mined.outcome["results"]]
        return group_tracks(folder, dataset, results, request.keep_every, self._looks, hint=hint, name=request.name)

    def _supports(
        self, folder: Path, mined: Stage, groups: Stage, before: tuple[Kinds, Stage, Stage] | None
    ) -> dict[str, Any]:
        request = self._request
        given = 0
        if request.like:
            shown, not_shown = self._hint()
            given = len(shown)
        if before is not None:
            kinds, found, kept = before
            videos, vectors = read_judged(kept.folder, found.folder, found.outcome["videos"])
            made = next_kinds(kinds, videos, vectors, given)
        else:
            tracks, dataset = read_groups(groups.folder), mined.folder / "dataset"
            if request.like:
                made = shown_kind(request.name, shown, not_shown, self._look_of(shown), tracks, dataset)
            else:
                choice = choose(tracks.groups, request.choice, most=request.most)
                if not choice.taught:
                    raise DatasetError(NOTHING_STANDS_OUT.format(folder=groups.folder))
                made = grouped_kinds(choice, tracks, dataset)
        made.write(folder)
        return {"kinds": list(made.names), "examples": [len(kind.examples) for kind in made.kinds],
                "origins": [[e.origin for e in kind.examples] for kind in made.kinds]}  # fmt: skip

    def _retrieve(self, kinds: Kinds, pool: Stage, groups: Stage) -> dict[str, Any]:
        if "retrieve" in self._request.skip:
            return {"videos": list(self._sources), "clips": {}}
        index = Pool.open(pool.folder / "pool")
        embedder = load_embedder(SMALL, device=self._device)
        return retrieve_stage(kinds, index, embedder, self._sources, read_groups(groups.folder), self._request.clips)

    def _find(self, folder: Path, sources: dict[str, str], kinds: Kinds) -> dict[str, Any]:
        few_shot = VIPMT.from_pretrained(self._request.few_shot, device=self._device)
        model = MinVIS.from_pretrained(self._weights, device=self._device, precision="auto")
        background = BackgroundNet.from_pretrained(self._background, self._device)
        return find_stage(
            folder, sources, kinds, few_shot, model, background, self._request.frame_step,
            lambda _, done, total: self._progress("find", done, total),
        )  # fmt: skip

    def _measure(self, kinds: Kinds, found: Stage, kept: Stage) -> dict[str, Any]:
        videos, _ = read_judged(kept.folder, found.folder, found.outcome["videos"])
        held_out = [video for video in videos if video.found.video in kept.outcome["held_out"]]
        model = MinVIS.from_pretrained(self._weights, device=self._device, precision="auto")
        figures = agreement(model, held_out, kinds.names)
        return {"j": round(figures.j, 5), "one_id": round(figures.one_id, 5), "frames": figures.frames}

    def _identity(self) -> str:
        """The weights in use, by where they come from: the run's own are known by the stage that made them."""
        path = Path(self._weights)
        return str(path.relative_to(self._request.out)) if path.is_relative_to(self._request.out) else self._weights

    def _finish(self, rounds: Sequence[Round], mined: Stage, groups: Stage) -> GrowSummary:
        """The best round's dataset and weights under names that do not change, and the report."""
        taught = [done for done in rounds if "teach" in done.stages]
        best = max(taught, key=lambda done: (done.agreement or 0.0, -done.number), default=None)
        last = best or (rounds[-1] if rounds and "keep" in rounds[-1].stages else None)
        out = self._request.out
        dataset = None if last is None else linked_copy(last.stages["keep"].folder, out / "dataset", PARTS)
        weights = None if best is None else linked_copy(best.stages["teach"].folder / "weights", out / "weights")
        problems = dict(mined.outcome["problems"])
        for done in rounds:
            if "find" in done.stages:
                problems |= done.stages["find"].outcome["problems"]
        report = write_report(out, self._request, mined, groups, rounds, best, problems)
        return GrowSummary(
            out, tuple(rounds), None if best is None else best.number, dataset, weights, report, problems
        )
