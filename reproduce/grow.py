"""Does the loop find a kind, and is it ahead of its parts? `fewmask grow` on pools of videos whose truth is hidden.

    python reproduce/grow.py --pools synth davis --coco COCO_MINI --davis DAVIS --pool CLIPS --out RUN

*synth*: copy-paste videos, a third of them with the kind, all objects from pictures that no bundled network has learned
from. *davis*: DAVIS videos of a kind among real clips; DAVIS measures alone, no weights trained here are shipped. In
both the loop is shown two masked COCO pictures of the kind and nothing else; AP50 of tracks and J of pixels are
measured on videos of the kind that are not in the pool. ``--unnamed`` calls the kind by a word that the segmenter does
not know, so that its name has to be learned.

Arms: the segmenter at the start, by the name that it gives the shown pictures, and whatever the name; what mining alone
teaches (`mine --refine`); the few-shot network with the loop's supports, no training; the same with what retrieval and
agreement found as supports; the loop after every round; the loop shown five true pictures of the pool; and two bounds:
taught with those of the found objects that fit the truth, and taught with the truth. "oracle ..." puts the truth in
place of one stage of round 1 and leaves the others (the oracle of the supports is the loop with five true pictures).
A second table says which stage loses how many of the kind's objects, without any training: as it is, without the mined
tracks' say in retrieval, with the truth in place of the supports, of retrieval and of finding, judged by the shown
pictures alone, and with other thresholds. ``--arms`` without a name prints it alone.

Arms of a seed that are in ``figures.json`` are not run again, and a run that was stopped goes on inside.
"""

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from grow_figures import FOUND, Scored, believed, few_shot, figures, named, overlap, stages
from grow_scenes import KINDS, Clip, Scene, davis_scene, synth_scene, true_pictures

from fewmask.media import rle
from fewmask.media.atomic import write_json, write_text
from fewmask.mining.background_net import BackgroundNet
from fewmask.minvis.stream import MinVIS
from fewmask.pipelines.grow.agreement import KEEP, Evidence, Verdict, judge
from fewmask.pipelines.grow.find import FoundTrack, FoundVideo
from fewmask.pipelines.grow.found_looks import look_at
from fewmask.pipelines.grow.groups import Vectors
from fewmask.pipelines.grow.kept_dataset import JudgedVideo, write_kept
from fewmask.pipelines.grow.kind_stage import next_kinds
from fewmask.pipelines.grow.kinds import Kinds, read_kinds
from fewmask.pipelines.grow.request import GrowRequest
from fewmask.pipelines.grow.retrieve_stage import clips_for, videos_for
from fewmask.pipelines.grow.run import run_grow
from fewmask.pipelines.grow.search_stage import find_stage, keep_stage, read_judged
from fewmask.pipelines.grow.stages import Stages
from fewmask.pipelines.grow.teach import teach_segmenter
from fewmask.pipelines.grow.track_looks import TrackLooks
from fewmask.pipelines.mine_request import MineRequest, RefineRequest
from fewmask.pipelines.refine import run_refine
from fewmask.retrieval.embedders import FIXED, SMALL, load_embedder
from fewmask.retrieval.pool import Pool
from fewmask.vipmt.model import VIPMT
from fewmask.vipmt.support import SupportSet, read_support

SELECTED, TRUE = "selected with ground truth", "ground truth"
STAGES = ("mined", "retrieved", "found", "kept", "objects", "kept tracks", "kept and true", "IoU of those")
AUDITS = ("round 1", "clips alone", "oracle supports", "oracle retrieve", "oracle find", "judged by what is shown",
          "keep from 0.35", "keep from 0.6")  # fmt: skip
SURE = Verdict(0, Evidence(1.0, 1.0, 1.0, 1.0, 1.0), "kept")
NOBODY_KNOWS = Verdict(0, Evidence(0.0, 0.0, 0.0, 0.0, 0.0), "unsure")
Answer = Callable[[Clip], Scored]


def arms_of(rounds: int) -> tuple[str, ...]:
    """All arms, in the order of the table."""
    loop = tuple(f"loop, round {number}" for number in range(1, rounds + 1))
    return ("start", "start, any name", "mining", "few-shot", "retrieval + few-shot", *loop, "five true pictures",
            "oracle retrieve", "oracle find", "oracle keep", SELECTED, TRUE)  # fmt: skip


class Trial:
    """Every arm on one scene; what several arms need is made once."""

    def __init__(self, scene: Scene, arguments: argparse.Namespace, seed: int, folder: Path) -> None:
        self._scene, self._arguments, self._seed, self.folder = scene, arguments, seed, folder
        self._word = "wanted" if arguments.unnamed else scene.kind
        self._stages = Stages(folder / "arms", lambda name: print(f"  {name} ...", flush=True))

    def answer(self, arm: str) -> Answer | None:
        """What an arm says of a clip; None where there is no such arm on this scene."""
        start, device = self._arguments.weights, self._arguments.device
        if arm.startswith("start"):
            return named(start, None if "any" in arm else believed(start, self._shown, device), device)
        if arm in ("few-shot", "retrieval + few-shot"):
            supports = self._kinds if arm == "few-shot" else self._found_kinds
            return few_shot(supports.supports(), self._arguments.few_shot, start, device)
        if arm == "mining":
            weights = self._refined()
            return named(weights, believed(start, self._shown, device), device)
        if arm.startswith("loop"):
            place = self.run / f"round-{arm.rpartition(' ')[2]}" / "teach" / "weights"
        else:
            known = self._scene.showing
            place = self._taught(arm) if known else Path("nowhere")
        return named(place, {self._word}, device) if place.is_dir() else None

    @cached_property
    def run(self) -> Path:
        """The loop, shown two pictures."""
        return self._grown("loop", self._scene.like)

    def _grown(self, name: str, like: Path, rounds: int = 0, until: str | None = None) -> Path:
        out = self.folder / name
        if until is None or not (out / f"round-1/{until}/stage.json").exists():
            run_grow(self._request(out, like, rounds or self._arguments.rounds, until))
        return out

    def audit(self, row: str) -> dict[str, float] | None:
        """What every stage of a round leaves of the kind's objects, as far as the dataset; nothing is trained."""
        known = [clip.name for clip in self._scene.showing]
        if not known:
            return None
        if row in ("round 1", "oracle supports"):
            return self._stages_of(self.untaught if row == "round 1" else self._five(until="keep"), 1)
        searched, kinds, keep = self._searched, self._kinds, self._arguments.keep
        if row == "oracle retrieve":
            searched = known
        elif row == "clips alone":
            searched = self._of_clips()
        elif row == "judged by what is shown":  # the mined tracks among the supports have no say
            kind, given = kinds.kinds[0], len(next(iter(self._shown.classes.values())))
            kinds = replace(kinds, kinds=(replace(kind, vectors=kind.vectors[:given]),))
        elif row.startswith("keep"):
            keep = float(row.rpartition(" ")[2])
        outlined = row == "oracle find"
        found = self._outlined(self.folder / "outlined") if outlined else self._everywhere(searched)
        kept = {name: self._kept(found, name, kinds, keep, anew=outlined and name in known) for name in searched}
        return stages(self._scene, self.untaught / "mined", set(searched), found, kept)

    def later(self, number: int) -> dict[str, float]:
        """The same of a further round of the loop."""
        return self._stages_of(self.run, number)

    def _stages_of(self, run: Path, number: int) -> dict[str, float]:
        place = run / f"round-{number}"
        searched = json.loads((place / "retrieve" / "stage.json").read_text())["outcome"]["videos"]
        verdicts = json.loads((place / "keep" / "verdicts.json").read_text())["verdicts"]
        kept = {name: {int(t) for t, v in own.items() if v["decision"] == "kept"} for name, own in verdicts.items()}
        return stages(self._scene, run / "mined", set(searched), place / "find", kept)

    def _kept(self, found: Path, name: str, kinds: Kinds, keep: float, *, anew: bool) -> set[int]:
        """The tracks of a video that are kept; what they look like is reckoned once."""
        seen = FoundVideo.read(found / f"{name}.json")
        vectors = look_at(seen, self._looks) if anew else self._vectors.get(name)
        if vectors is None:
            vectors = self._vectors[name] = look_at(seen, self._looks)
        kind = [kind.vectors for kind in kinds.kinds]
        return {
            track.track
            for track in seen.tracks
            if track.track in vectors
            and judge(track, vectors[track.track], kind, kinds.other_vectors, keep=keep).decision == "kept"
        }

    @cached_property
    def _vectors(self) -> dict[str, dict[int, Vectors]]:
        """What the tracks of the videos that round 1 searched look like."""
        first = self.untaught / "round-1"
        _, vectors = read_judged(first / "keep", first / "find", self._searched)
        return {name: {t: v for (video, t), v in vectors.items() if video == name} for name in self._searched}

    @cached_property
    def _looks(self) -> TrackLooks:
        embedders = [load_embedder(name, device=self._arguments.device) for name in (FIXED, SMALL)]
        return TrackLooks(embedders, MinVIS.from_pretrained(device=self._arguments.device).segmenter)

    @cached_property
    def untaught(self) -> Path:
        """The loop as far as the first dataset."""
        return self._grown("loop", self._scene.like, until="keep")

    def _five(self, until: str | None = None) -> Path:
        return self._grown("five", true_pictures(self._scene, 5, self.folder / "true"), 1, until)

    def _request(self, out: Path, like: Path, rounds: int = 1, until: str | None = None) -> GrowRequest:
        a = self._arguments
        return GrowRequest(
            [str(clip.source) for clip in self._scene.pool], out, (like,), self._word, rounds=rounds, until=until,
            frame_step=1, keep_every=1, keep=a.keep, clips=a.retrieve,
            skip=frozenset(() if a.background else ("background",)), weights=a.weights, few_shot=a.few_shot,
            labelled=a.labelled, images=a.labelled_images, steps=a.steps,
            workers=1, device=a.device, seed=self._seed, resume=out.exists(),
        )  # fmt: skip

    @cached_property
    def _shown(self) -> SupportSet:
        return read_support(self._scene.like)

    @cached_property
    def _kinds(self) -> Kinds:
        place = self.untaught / "round-1" / "supports"
        return read_kinds(place, read_support(place / "supports"))

    @cached_property
    def _found_kinds(self) -> Kinds:
        """The supports that round 1 leaves for the next."""
        first = self.untaught / "round-1"
        videos, vectors = read_judged(first / "keep", first / "find", self._searched)
        given = len(next(iter(self._shown.classes.values())))
        return next_kinds(self._kinds, videos, vectors, given)

    @cached_property
    def _searched(self) -> list[str]:
        return list(json.loads((self.untaught / "round-1" / "find" / "stage.json").read_text())["outcome"]["videos"])

    def _of_clips(self) -> list[str]:
        """The videos that would be searched if mined tracks had no say in it."""
        kind = self._kinds.kinds[0]
        embedder = load_embedder(SMALL, device=self._arguments.device)
        places = clips_for(kind, Pool.open(self.untaught / "pool" / "pool"), embedder, self._arguments.retrieve)
        sources = {clip.name: str(clip.source) for clip in self._scene.pool}
        return videos_for(places, sources, [example.origin for example in kind.examples])

    def _refined(self) -> Path:
        mined = MineRequest(
            [str(clip.source) for clip in self._scene.pool], self.untaught / "mined" / "dataset",
            weights=self._arguments.weights, workers=1, device=self._arguments.device,
            resume=(self.untaught / "mined" / "dataset" / "refined").exists(),
        )  # fmt: skip
        return run_refine(mined, RefineRequest(steps=self._arguments.steps))[-1].weights

    def _taught(self, arm: str) -> Path:
        """Weights of an arm that has the truth in place of something."""
        if arm == "five true pictures":
            return self._five() / "round-1" / "teach" / "weights"
        given = {"arm": arm, "steps": self._arguments.steps, "word": self._word}
        kept = self._stages.run(f"{arm}/keep", given, lambda folder: self._keep(arm, folder))
        taught = self._stages.run(
            f"{arm}/teach", {"keep": kept.digest},
            lambda folder: teach_segmenter(
                folder, kept.folder, self._arguments.weights, self._request(folder, self._scene.like), lambda _: None
            ),
            resumes=True,
        )  # fmt: skip
        return taught.folder / "weights"

    def _keep(self, arm: str, folder: Path) -> Mapping[str, Any]:
        """The dataset that an arm is taught with."""
        if arm == "oracle retrieve":
            names = [clip.name for clip in self._scene.showing]
            return self._judged(folder, self._everywhere(names), names)
        if arm == "oracle find":
            return self._judged(folder, self._outlined(folder.with_name("outlined")), self._searched)
        names = self._searched
        if arm in (SELECTED, TRUE):
            names = [c.name for c in self._scene.pool if c.objects or c.name in self._searched]
        place = self._everywhere(names)
        videos = []
        for name in names:
            clip = self._clip(name)
            found = self._true_video(name) if arm == TRUE else FoundVideo.read(place / f"{name}.json")
            verdicts = {
                track.track: NOBODY_KNOWS if clip.objects is None else SURE
                for track in found.tracks
                if clip.objects is None or self._fits(track, clip)
            }
            videos.append(JudgedVideo(found, verdicts))
        return write_kept(folder, videos, (self._word,), 1, held_out=frozenset())

    def _outlined(self, place: Path) -> Path:
        """What was found, with the true outlines in place of those of the kind."""
        place.mkdir(parents=True, exist_ok=True)
        for name in self._searched:
            self._true_video(name).write(place / f"{name}.json")
        return place

    def _judged(self, folder: Path, found: Path, names: Sequence[str]) -> Mapping[str, Any]:
        return keep_stage(folder, found, names, self._kinds, self._looks, self._arguments.keep, 1, [])

    def _everywhere(self, names: Sequence[str]) -> Path:
        """What the stage find sees in these clips; those that the loop did not search are searched now."""
        folder = self.folder / "found"
        folder.mkdir(exist_ok=True)
        for name in set(names) & set(self._searched):
            FoundVideo.read(self.untaught / "round-1" / "find" / f"{name}.json").write(folder / f"{name}.json")
        left = {name: str(self._clip(name).source) for name in names if not (folder / f"{name}.json").exists()}
        if left:
            a = self._arguments
            find_stage(
                folder, left, self._kinds, VIPMT.from_pretrained(a.few_shot, device=a.device),
                MinVIS.from_pretrained(a.weights, device=a.device), BackgroundNet.from_pretrained(None, a.device), 1,
                lambda *_: None,
            )  # fmt: skip
        return folder

    def _true_video(self, name: str) -> FoundVideo:
        """What was found, with the true outlines in place of what was seen of the kind."""
        clip = self._clip(name)
        found = FoundVideo.read(self._everywhere([name]) / f"{name}.json")
        if clip.objects is None:
            return found
        found.tracks = [t for t in found.tracks if max((overlap(t.masks, m) for m in clip.objects), default=0) < 0.2]
        for number, masks in enumerate(clip.objects, 1001):
            pixels = sum(map(rle.area, masks.values()))
            scores = dict.fromkeys(masks, 1.0)
            found.tracks.append(FoundTrack(number, dict(masks), scores, [pixels], pixels, [1.0], [1.0]))
        return found

    def _fits(self, track: FoundTrack, clip: Clip) -> bool:
        return any(overlap(track.masks, masks) >= FOUND for masks in clip.objects or ())

    def _clip(self, name: str) -> Clip:
        return next(clip for clip in self._scene.pool if clip.name == name)


def tables(record: Mapping[str, Any], pools: Sequence[str], arms: Sequence[str]) -> str:
    """Markdown: arms by pool, then what every stage leaves."""
    lines: list[str] = []
    for pool in pools:
        seeds = [entry for key, entry in sorted(record.items()) if key.split("/")[0] == pool]
        if not seeds:
            continue
        lines += [f"\n{pool}: {', '.join(entry['what'] for entry in seeds)}\n",
                  f"| arm | seeds | AP50 (sd) | J (sd) | of the gap to '{SELECTED}' | of the gap to '{TRUE}' |",
                  "|---|---|---|---|---|---|"]  # fmt: skip
        for arm in arms:
            own = [entry["arms"][arm] for entry in seeds if entry["arms"].get(arm)]
            if own:
                cells = [f"{np.mean([o[k] for o in own]):.1f} ({np.std([o[k] for o in own]):.1f})"
                         for k in ("AP50", "J")]  # fmt: skip
                shares = [_closed(seeds, arm, bound) for bound in (SELECTED, TRUE)]
                lines.append(f"| {arm} | {len(own)} | " + " | ".join((*cells, *shares)) + " |")
        audits = [(name, audit) for entry in seeds for name, audit in entry["stages"].items()]
        if audits:
            lines += ["\n| % of the kind's objects | " + " | ".join(STAGES) + " |", "|---" * (len(STAGES) + 1) + "|"]
        for name in dict.fromkeys(name for name, _ in audits):
            own = [audit for other, audit in audits if other == name]
            means = [f"{np.mean([audit[stage] for audit in own]):.0f}" for stage in STAGES]
            lines.append(f"| {name} | " + " | ".join(means) + " |")
    return "\n".join(lines) + "\n"


def _closed(seeds: Sequence[Mapping[str, Any]], arm: str, bound: str) -> str:
    """AP50, over the seeds that have all three."""
    three = [(e["arms"]["start"]["AP50"], e["arms"][arm]["AP50"], e["arms"][bound]["AP50"]) for e in seeds
             if all(e["arms"].get(name) for name in ("start", arm, bound))]  # fmt: skip
    if not three:
        return ""
    start, ours, best = np.mean(three, axis=0)
    return f"{100 * (ours - start) / (best - start):.0f} %" if best > start else "no gap"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pools", nargs="+", choices=("synth", "davis"), default=["synth", "davis"])
    parser.add_argument("--coco", type=Path, required=True, help="folder with instances.json and images/")
    parser.add_argument("--davis", type=Path, help="folder with JPEGImages and Annotations")
    parser.add_argument("--pool", type=Path, help="folder of the clips that DAVIS videos hide among")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--arms", nargs="*", help="some of them, by name, or none; default: all")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--clips", type=int, default=30, help="in the pool")
    parser.add_argument("--held-out", type=int, default=6, help="synth: clips to measure on")
    parser.add_argument("--frames", type=int, default=16, help="of every clip")
    parser.add_argument("--retrieve", type=int, default=0, help="clips searched; 0 = as `fewmask grow` does")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=200, help="of every training")
    parser.add_argument("--keep", type=float, default=KEEP)
    parser.add_argument("--kinds", nargs="+", default=["dog", "cat", "car"], help="synth: classes, one per seed")
    parser.add_argument("--davis-kind", choices=sorted(KINDS), default="bird")
    parser.add_argument("--unnamed", action="store_true", help="the kind's name is no word of the segmenter")
    parser.add_argument("--background", action="store_true", help="teach the background network too")
    parser.add_argument("--labelled", type=Path, help="COCO file mixed into the loop's training")
    parser.add_argument("--labelled-images", type=Path)
    parser.add_argument("--weights", default="small", help="of the segmenter at the start")
    parser.add_argument("--few-shot", default="small")
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    arms = arms_of(arguments.rounds)
    if unknown := set(arguments.arms or ()) - set(arms):
        parser.error(f"no such arm: {', '.join(sorted(unknown))}; there are {', '.join(arms)}")
    if "davis" in arguments.pools and not (arguments.davis and arguments.pool):
        parser.error("the pool davis needs --davis and --pool")
    if arguments.device == "cpu":
        torch.set_num_threads(1)
    path = arguments.out / "figures.json"
    record: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    for seed in arguments.seeds:
        for pool in arguments.pools:
            place = arguments.out / pool / f"seed-{seed}"
            scene = (synth_scene if pool == "synth" else davis_scene)(arguments, seed, place / "scene")
            own = record.setdefault(f"{pool}/{seed}", {"what": scene.kind, "arms": {}, "stages": {}})
            trial = Trial(scene, arguments, seed, place)
            for row in AUDITS:
                if row not in own["stages"] and (audit := trial.audit(row)) is not None:
                    own["stages"][row] = audit
                    write_json(path, record, indent=1)
                    print(f"{pool} {scene.kind} seed {seed}, stages of {row}: {audit}", flush=True)
            for arm in arms:
                if arm not in own["arms"] and arm in (arms if arguments.arms is None else arguments.arms):
                    answer = trial.answer(arm)
                    own["arms"][arm] = None if answer is None else figures(scene, answer)
                    number = int(arm.rpartition(" ")[2]) if arm.startswith("loop") else 0
                    if number > 1 and answer is not None:
                        own["stages"][f"round {number}"] = trial.later(number)
                    write_json(path, record, indent=1)
                    print(f"{pool} {scene.kind} seed {seed}, {arm}: {own['arms'][arm]}", flush=True)
    text = tables(record, arguments.pools, arms)
    write_text(arguments.out / "figures.md", text)
    print(text)


if __name__ == "__main__":
    main()
