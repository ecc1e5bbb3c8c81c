"""Which masks does selection keep? Precision, recall and F1 at IoU 0.5 on videos whose masks are hidden from it.

    python reproduce/mining_selection.py --davis DAVIS --cache CACHE [--weights FOLDER] [--clips 30] [--frames 12]

For each ablation of the paper's Table 4 (L_I, the constraint, L_F, L_p), and for ways without video: every proposal
above the best global score threshold, data distillation (proposals that the mirrored picture confirms, above its best
threshold; both thresholds are chosen on the ground truth, an upper bound for thresholding), the top-1 proposal, and
everything. With ``--check-flow-calls`` the path of the search is compared with that of all K² pairs on every clip.

Where only one object of a video is marked, as on DAVIS 2016, the second F1 leaves out masks that lie off it (less than
a tenth of them inside) for every method, as one leaves out unlabelled regions: about half of them are real things that
nobody marked, half are errors, so the truth lies between the two.

Proposals are cached per clip as RLE: one cache for one proposer. With ``--mobile-sam`` they come from MobileSAM, which
has seen masks of everything, otherwise from a MinVIS segmenter.
"""

import argparse
from pathlib import Path

import numpy as np
from mining_clips import Cached, Clip, Tally, add_source, iou, mining_clip, proposals, read, source_of

from fewmask.mining.background_net import BackgroundNet
from fewmask.mining.flow import DisFlow
from fewmask.mining.frame_candidates import FrameCandidates, frame_candidates
from fewmask.mining.path import best_path
from fewmask.mining.selection import Selection, select
from fewmask.mining.settings import MiningSettings
from fewmask.mining.video_objective import VideoObjective
from fewmask.pipelines.mine import MINVIS_SCORE_THRESHOLD

SCORE_WEIGHT = 0.2
ABLATIONS = {
    "L_I": {"disjoint": False, "weight_flow": 0, "weight_consistency": 0},
    "L_I + constraint": {"weight_flow": 0, "weight_consistency": 0},
    "L_I + constraint + L_p": {"weight_flow": 0},
    "the same, scores as a prior": {"weight_flow": 0, "weight_score": SCORE_WEIGHT},
    "+ L_F": {"weight_flow": 1, "weight_consistency": 0},
    "+ L_F + L_p (all)": {"weight_flow": 1},
}
ALL = "+ L_F + L_p (all)"
THRESHOLDS = [round(t, 3) for t in np.linspace(0, 1, 101)]


def selected(
    clip: Clip, found: list[tuple[np.ndarray, np.ndarray]], backgrounds: list[np.ndarray], settings: MiningSettings
) -> tuple[list[FrameCandidates], Selection, list[np.ndarray]]:
    """Both stages on a clip; the masks that were kept, per frame."""
    frames, cached = [], Cached()
    for index, (picture, answer) in enumerate(zip(clip.pictures, found, strict=True)):
        cached.answer, cached.probability = answer, backgrounds[index]
        frames.append(frame_candidates(index, read(picture), cached, cached, settings))
    selection = select(frames, DisFlow(), settings)
    pairs = zip(frames, selection.ranks, strict=True)
    return frames, selection, [frame.bitmaps()[list(frame.combinations[rank][1])] for frame, rank in pairs]


def distilled(
    found: list[tuple[np.ndarray, np.ndarray]], mirrored: list[tuple[np.ndarray, np.ndarray]]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Data distillation: the best 15 proposals, scored by the mean over the picture and its mirror image."""
    answer = []
    for (masks, scores), (others, other_scores) in zip(found, mirrored, strict=True):
        best = np.argsort(-scores, kind="stable")[:15]
        means = []
        for i in best:
            overlaps = np.array([iou(masks[i], other) for other in others])
            again = other_scores[overlaps >= 0.5]
            means.append((scores[i] + (again.max() if len(again) else 0.0)) / 2)
        answer.append((masks[best], np.array(means)))
    return answer


def check_flow_calls(frames: list[FrameCandidates], selection: Selection, settings: MiningSettings) -> bool:
    """Whether evaluating all K² pairs finds the same path."""
    objective = VideoObjective(frames, DisFlow(), settings)
    full = []
    for t, bound in enumerate(objective.bounds):
        table = bound.copy()
        for k, j in np.ndindex(*bound.shape):
            if not objective.known[t][k, j]:
                table[k, j] = objective.learn(t, k, j, objective.inside(t, k, j))
        full.append(table)
    return tuple(best_path(objective.unary, full)[1]) == selection.ranks


def proposer(arguments: argparse.Namespace):
    if arguments.mobile_sam is not None:
        from mining_mobile_sam import MobileSamProposals

        return MobileSamProposals(arguments.mobile_sam)
    from fewmask.pipelines.mine import MinvisProposals

    return MinvisProposals(arguments.weights, "cpu")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_source(parser)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--weights", default="small")
    parser.add_argument("--mobile-sam", type=Path)
    parser.add_argument("--clips", type=int, default=30)
    parser.add_argument("--skip", type=int, default=0, help="leave out so many of those clips, the first ones")
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--step", type=int, default=1, help="one frame in so many")
    parser.add_argument("--flow-side", type=int, default=144)
    parser.add_argument(
        "--score-threshold", type=float, default=MINVIS_SCORE_THRESHOLD, help="proposals scored below are not offered"
    )
    parser.add_argument("--background-prior", type=float, default=0.0, help="added to the log-odds of background")
    parser.add_argument("--background", type=Path, help="a background network instead of the bundled one")
    parser.add_argument(
        "--perfect-background", action="store_true", help="what is marked is the foreground, in place of a network"
    )
    parser.add_argument("--no-flow", action="store_true", help="without the rows that compute flow")
    parser.add_argument("--no-mirror", action="store_true", help="without data distillation")
    parser.add_argument("--only-all", action="store_true", help="without the ablations and the other methods")
    parser.add_argument("--check-flow-calls", action="store_true", help="also evaluate all K² pairs (slow)")
    arguments = parser.parse_args()
    source = source_of(arguments)
    arguments.cache.mkdir(parents=True, exist_ok=True)

    network = BackgroundNet.from_pretrained(arguments.background)
    ablations = {ALL: {"weight_flow": 1}} if arguments.only_all else ABLATIONS
    if arguments.no_flow:
        ablations = {title: changes for title, changes in ablations.items() if changes.get("weight_flow", 1) == 0}
    offered = []
    tallies = {name: Tally() for name in ("top-1", "everything", *ablations)}
    thresholds, distillation = ({t: Tally() for t in THRESHOLDS} for _ in range(2))
    calls = pairs = same = clips = 0

    def make() -> object:
        return proposer(arguments)

    for name in source.names(arguments.clips)[arguments.skip :]:
        clip = mining_clip(source, name, arguments.frames, arguments.step)
        found = proposals(clip, arguments.cache, make)
        offered += [int((scores >= arguments.score_threshold).sum()) for _, scores in found]
        if arguments.perfect_background:
            backgrounds = [np.where(truth.any(axis=0), 0.01, 0.99) for truth in clip.truths]
        else:
            backgrounds = [network.background(read(picture)) for picture in clip.pictures]
        for title, changes in ablations.items():
            settings = MiningSettings(
                flow_short_side=arguments.flow_side, score_threshold=arguments.score_threshold,
                background_prior=arguments.background_prior, **changes,
            )  # fmt: skip
            frames, selection, kept = selected(clip, found, backgrounds, settings)
            for masks, truth in zip(kept, clip.truths, strict=True):
                tallies[title].add(masks, truth)
        clips, calls, pairs = clips + 1, calls + selection.pairs_evaluated, pairs + selection.pairs
        report = f"{name}: {selection.pairs_evaluated} of {selection.pairs} flow pairs"
        if arguments.check_flow_calls:
            equal = check_flow_calls(frames, selection, settings)
            same += equal
            report += f", {'the same path as with all' if equal else 'ANOTHER PATH than with all'}"
        print(report, flush=True)
        if arguments.only_all:
            continue
        mirrored = found if arguments.no_mirror else proposals(clip, arguments.cache, make, mirrored=True)
        confirmed = distilled(found, mirrored)
        for (masks, scores), (sure, means), truth in zip(found, confirmed, clip.truths, strict=True):
            best = masks[np.argsort(-scores, kind="stable")[:15]]
            tallies["top-1"].add(best[:1], truth)
            tallies["everything"].add(best, truth)
            for threshold in THRESHOLDS:
                thresholds[threshold].add(masks[scores >= threshold][:15], truth)
                distillation[threshold].add(sure[means >= threshold], truth)
    if not arguments.only_all:
        for title, table in (("score", thresholds), ("distilled score", distillation))[
            : 1 if arguments.no_mirror else 2
        ]:
            for name, figure in (("F1", lambda tally: tally.f1), ("marked F1", lambda tally: tally.marked_f1)):
                best = max(table, key=lambda t: figure(table[t]))
                print(table[best].line(f"{title} >= {best} (best {name})"))
    for title, tally in tallies.items():
        if tally.objects:
            print(tally.line(title))
    bare = 100 * np.mean(np.array(offered) == 0)
    print(f"proposals offered: {np.mean(offered):.2f} a frame, none in {bare:.1f} % of frames")
    print(f"flow calls: {calls} of {pairs} = {calls / max(pairs, 1):.3f}")
    if arguments.check_flow_calls:
        print(f"same path as with all pairs: {same} of {clips} clips")


if __name__ == "__main__":
    main()
