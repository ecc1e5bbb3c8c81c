"""Which masks does selection keep? Precision, recall and F1 at IoU 0.5 on videos whose masks are hidden from it.

    python reproduce/mining_selection.py --davis DAVIS --cache CACHE [--mobile-sam WEIGHTS] [--clips 20] [--frames 12]

For each ablation of the paper's Table 4 (L_I, the constraint, L_F, L_p), and for three ways without video: every
proposal above the best global score threshold (chosen on the ground truth: an upper bound for thresholding), the top-1
proposal, and everything. The flow calls of the lazy search are counted and its path is compared with that of all K²
pairs on every clip. DAVIS 2016 merges all objects of a video into one mask, so at most one kept mask a frame is right.

Proposals are cached per clip as RLE; with ``--mobile-sam`` they come from MobileSAM, which has seen masks of
everything, otherwise from the bundled MinVIS segmenter.
"""

import argparse
import json
from pathlib import Path

import cv2
import numpy as np
from mining_mobile_sam import MobileSamProposals

from fewmask.media import rle
from fewmask.mining.background_net import BackgroundNet
from fewmask.mining.flow import DisFlow
from fewmask.mining.frame_candidates import FrameCandidates, frame_candidates
from fewmask.mining.path import best_path
from fewmask.mining.selection import select
from fewmask.mining.settings import MiningSettings
from fewmask.mining.video_objective import VideoObjective

ABLATIONS = {
    "L_I": {"disjoint": False, "weight_flow": 0, "weight_consistency": 0},
    "L_I + constraint": {"weight_flow": 0, "weight_consistency": 0},
    "+ L_F": {"weight_consistency": 0},
    "+ L_F + L_p (all)": {},
}


class Cached:
    """A proposer and background estimator that gives back what it was given for the present frame."""

    def propose(self, _rgb):
        return self.answer

    def background(self, _rgb):
        return self.probability


def proposals(clip: Path, frames: list[Path], cache: Path, make) -> list[tuple[np.ndarray, np.ndarray]]:
    path = cache / f"{clip.name}.json"
    if not path.exists():
        proposer, records = make(), []
        for picture in frames:
            masks, scores = proposer.propose(read(picture))
            order = np.argsort(-scores, kind="stable")[:40]
            records.append(
                {"counts": [r["counts"] for r in rle.encode_many(masks[order])], "scores": scores[order].tolist()}
            )
        path.write_text(json.dumps(records))
    size = read(frames[0]).shape[:2]
    found = []
    for record in json.loads(path.read_text())[: len(frames)]:
        masks = rle.decode_many([{"size": list(size), "counts": counts} for counts in record["counts"]])
        found.append((masks.reshape(-1, *size), np.array(record["scores"])))
    return found


def read(path: Path) -> np.ndarray:
    return np.ascontiguousarray(cv2.imread(str(path))[:, :, ::-1])


def iou(mask: np.ndarray, truth: np.ndarray) -> float:
    return float((mask & truth).sum() / max((mask | truth).sum(), 1))


class Tally:
    """Kept masks against the truth over all frames."""

    def __init__(self) -> None:
        self.kept = self.right = self.objects = 0
        self.unions: list[float] = []

    def add(self, masks: np.ndarray, truth: np.ndarray) -> None:
        self.kept += len(masks)
        if truth.any():
            self.objects += 1
            self.right += any(iou(mask, truth) >= 0.5 for mask in masks)
            self.unions.append(iou(masks.any(axis=0), truth) if len(masks) else 0.0)

    @property
    def f1(self) -> float:
        return 2 * self.right / max(self.kept + self.objects, 1)

    def line(self, name: str) -> str:
        precision, recall = self.right / max(self.kept, 1), self.right / max(self.objects, 1)
        return (
            f"{name:<28} precision {precision:.3f}  recall {recall:.3f}  F1 {self.f1:.3f}  "
            f"masks/frame {self.kept / max(self.objects, 1):.2f}  union IoU {np.mean(self.unions):.3f}"
        )


def check_flow_calls(frames: list[FrameCandidates], settings: MiningSettings) -> tuple[int, int, bool]:
    """Calls that the lazy search needed, K² calls, and whether both find one path."""
    selection = select(frames, DisFlow(), settings)
    objective = VideoObjective(frames, DisFlow(), settings)
    full = []
    for t, bound in enumerate(objective.bounds):
        full.append(np.array([[objective.evaluate(t, k, j) for j in range(bound.shape[1])] for k in range(len(bound))]))
    return selection.pairs_evaluated, selection.pairs, tuple(best_path(objective.unary, full)[1]) == selection.ranks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--davis", type=Path, required=True, help="folder with JPEGImages/ and Annotations/")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--mobile-sam", type=Path)
    parser.add_argument("--clips", type=int, default=20)
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--flow-side", type=int, default=144)
    parser.add_argument("--check-flow-calls", action="store_true", help="also evaluate all K² pairs (slow)")
    arguments = parser.parse_args()
    arguments.cache.mkdir(parents=True, exist_ok=True)

    def make():
        if arguments.mobile_sam is not None:
            return MobileSamProposals(arguments.mobile_sam)
        from fewmask.pipelines.mine import MinvisProposals

        return MinvisProposals("small", "cpu")

    network, cached = BackgroundNet.from_pretrained(), Cached()
    tallies = {name: Tally() for name in ("top-1", "everything", *ABLATIONS)}
    thresholds = {round(t, 3): Tally() for t in np.linspace(0, 1, 101)}
    calls = pairs = same = clips = 0
    for clip in sorted((arguments.davis / "JPEGImages").iterdir())[: arguments.clips]:
        pictures = sorted(clip.glob("*.jpg"))[: arguments.frames]
        truths = [
            cv2.imread(str(arguments.davis / "Annotations" / clip.name / f"{p.stem}.png"), cv2.IMREAD_GRAYSCALE) > 0
            for p in pictures
        ]
        found = proposals(clip, pictures, arguments.cache, make)
        backgrounds = [network.background(read(picture)) for picture in pictures]
        for name, changes in ABLATIONS.items():
            settings = MiningSettings(flow_short_side=arguments.flow_side, **changes)
            frames = []
            for index, (picture, answer) in enumerate(zip(pictures, found, strict=True)):
                cached.answer, cached.probability = answer, backgrounds[index]
                frames.append(frame_candidates(index, read(picture), cached, cached, settings))
            selection = select(frames, DisFlow(), settings)
            for frame, rank, truth in zip(frames, selection.ranks, truths, strict=True):
                tallies[name].add(frame.bitmaps()[list(frame.combinations[rank][1])], truth)
            if name.endswith("(all)"):
                clips += 1
                if arguments.check_flow_calls:
                    needed, whole, equal = check_flow_calls(frames, settings)
                    calls, pairs, same = calls + needed, pairs + whole, same + equal
                else:
                    calls, pairs = calls + selection.pairs_evaluated, pairs + selection.pairs
        for (masks, scores), truth in zip(found, truths, strict=True):
            best = masks[np.argsort(-scores, kind="stable")[:15]]
            tallies["top-1"].add(best[:1], truth)
            tallies["everything"].add(best, truth)
            for threshold, tally in thresholds.items():
                tally.add(masks[scores >= threshold][:15], truth)
        print(f"{clip.name}: {calls} of {pairs} flow pairs, {same}/{clips} paths as with all", flush=True)
    best = max(thresholds, key=lambda t: thresholds[t].f1)
    print(thresholds[best].line(f"score >= {best} (best F1)"))
    for name, tally in tallies.items():
        print(tally.line(name))
    print(f"flow calls: {calls} of {pairs} = {calls / max(pairs, 1):.3f}")
    if arguments.check_flow_calls:
        print(f"same path as with all pairs: {same} of {clips} clips")


if __name__ == "__main__":
    main()
