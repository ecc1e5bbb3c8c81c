r"""Zero-shot video object segmentation, Table 3, and the other baselines of Table 1 on the same footing: J and F.

    python reproduce/mining_unovost.py --davis DAVIS --cache CACHE [--refine RUN | --plus REFINED/weights]

Proposals come from a MinVIS segmenter (``--weights``). For each way the tracks of a video are compared with what DAVIS
2016 marks, one merged object, as the DAVIS unsupervised measure does it: the track that fits best, over all frames.

    top-1       the best proposal of each frame, one track
    raw         disjoint proposals linked by plain IoU, the twenty best tracks
    UnOVOST     tracklets by flow-warped IoU, merged by looks, the twenty best tracks
    TWB         tracking by overlap and looks, the twenty best tracks
    selected    the masks of the Bayesian selection of this paper (without L_F, for time), linked by IoU
    IOA, NLC    saliency without proposals, thresholded; IOA also on the fifth of the frames that it is surest of
    UnOVOST+    UnOVOST over the proposals of a segmenter that was fine-tuned on masks mined in videos without any
                label: ``--refine RUN`` mines every other sequence and fine-tunes on that; figures of the sequences
                that were not mined stand apart. ``--plus`` takes weights as they are

The paper's Table 3, DAVIS 2017 unsupervised with all objects apart: UnOVOST J 54.4, F 57.9; UnOVOST+ 59.1, 60.8. With
``--png`` the label maps of UnOVOST lie as `fewmask eval davis --task unsupervised` reads them, also for that data set.
"""

import argparse
import itertools
from pathlib import Path

import numpy as np
import torch
from mining_clips import Cached, Davis, mining_clip, proposals, read

from fewmask.datasets.label_maps import write_label_map
from fewmask.media import rle
from fewmask.metrics.davis_unsupervised import ProposalFrame, assign_proposals
from fewmask.mining.background_net import BackgroundNet
from fewmask.mining.flow import DisFlow
from fewmask.mining.frame_candidates import frame_candidates
from fewmask.mining.saliency import masks_of, motion_saliency, surest_frames, video_pca, voted
from fewmask.mining.selection import select
from fewmask.mining.settings import MiningSettings
from fewmask.mining.tracklets import Piece, best_tracks, disjoint, label_maps, unovost
from fewmask.mining.tracks import link_tracks
from fewmask.mining.tracktor import tracktor
from fewmask.pipelines.mine import MINVIS_SCORE_THRESHOLD, MinvisProposals, run_mine
from fewmask.pipelines.mine_request import MineRequest, RefineRequest
from fewmask.pipelines.refine import run_refine

PAPER = {"UnOVOST": (54.4, 57.9), "UnOVOST+": (59.1, 60.8)}


def linked(frames, scores, gap=3):
    """Label maps of masks that plain IoU links."""
    ids = link_tracks([rle.encode_many(masks) for masks in frames], 0.3, gap)
    tracks = {}
    for t, row in enumerate(ids):
        for place, track in enumerate(row):
            tracks.setdefault(track, []).append(Piece(t, place))
    return label_maps(best_tracks([tuple(track) for track in tracks.values()], scores), frames)


def kept_by_selection(clip, found, network, settings):
    """Masks of the Bayesian selection and their scores, frame by frame."""
    frames, cached = [], Cached()
    for index, (picture, answer) in enumerate(zip(clip.pictures, found, strict=True)):
        rgb = read(picture)
        cached.answer, cached.probability = answer, network.background(rgb)
        frames.append(frame_candidates(index, rgb, cached, cached, settings))
    ranks = select(frames, DisFlow(), settings).ranks
    chosen = [list(frame.combinations[rank][1]) for frame, rank in zip(frames, ranks, strict=True)]
    masks = [frame.bitmaps()[places] for frame, places in zip(frames, chosen, strict=True)]
    return masks, [np.array(frame.scores)[places] for frame, places in zip(frames, chosen, strict=True)]


def score(maps, truths):
    """Mean J and F of the track that fits the one marked object best."""
    frames = [
        ProposalFrame({int(v): labels == v for v in np.unique(labels) if v}, {1: truth.any(0)})
        for labels, truth in zip(maps, truths, strict=True)
    ]
    [row] = assign_proposals(frames)
    return row.J.mean, row.F.mean


def ways(clip, found, network, settings, flow, *, alone=True):
    """Label maps of the whole clip by every way that takes proposals; and by what takes none, where that is wanted."""
    pictures = [read(picture) for picture in clip.pictures]
    backs = [flow(b, a) for a, b in itertools.pairwise(pictures)]
    best = [masks[[int(np.argmax(scores))]] if len(scores) else masks for masks, scores in found]
    apart = [disjoint(*answer) for answer in found]
    yield "top-1", [mask.any(0).astype(np.uint8) for mask in best], None
    yield "raw", linked([masks for masks, _ in apart], [scores for _, scores in apart]), None
    yield "UnOVOST", unovost(pictures, found, backs), None
    yield "UnOVOST, nothing merged", unovost(pictures, found, backs, least_likeness=2), None
    yield "TWB", tracktor(pictures, found), None
    yield "selected", linked(*kept_by_selection(clip, found, network, settings)), None
    if not alone:
        return
    salient = video_pca(pictures)
    sure = surest_frames(salient)
    onward = [flow(a, b) for a, b in itertools.pairwise(pictures)]
    yield "IOA", masks_of(salient).astype(np.uint8), None
    yield "IOA, surest frames", masks_of(salient).astype(np.uint8)[sure], sure
    yield "NLC", masks_of(voted(pictures, motion_saliency(onward))).astype(np.uint8), None


def refined(source, names, out, options):
    """Weights after fine-tuning on what is mined in the sequences; goes on where a run was killed."""
    mined = MineRequest(
        [str(source.frames / name) for name in names], out, "minvis", options.weights, workers=1, device="cpu",
        settings={"frame_step": options.mine_step, "keep_every": options.mine_keep}, resume=True,
    )  # fmt: skip
    summary = run_mine(mined)
    print(f"{out.name}: {len(names)} sequences mined, {summary.tracks_to_review} tracks to review", flush=True)
    (done,) = run_refine(
        mined, RefineRequest(steps=options.steps), lambda _, line: print(f"step {line.step} of {line.steps}")
    )
    print(f"{out.name}: fine-tuned on {done.masks} masks in {done.pictures} pictures", flush=True)
    return str(done.weights)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--davis", type=Path, required=True, help="folder with JPEGImages/ and Annotations/")
    parser.add_argument("--cache", type=Path, required=True, help="folder that keeps the proposals")
    parser.add_argument("--weights", default="small", help="of the segmenter that proposes")
    parser.add_argument("--plus", help="weights fine-tuned on mined masks")
    parser.add_argument("--plus-cache", type=Path)
    parser.add_argument("--refine", type=Path, help="folder of the mining and fine-tuning on every other sequence")
    parser.add_argument("--mine-step", type=int, default=2, help="mining looks at one frame in so many")
    parser.add_argument("--mine-keep", type=int, default=3, help="of those one in so many is trained on")
    parser.add_argument("--steps", type=int, help="of fine-tuning, instead of the recipe's")
    parser.add_argument("--clips", type=int, default=30)
    parser.add_argument("--frames", type=int, default=12)
    parser.add_argument("--step", type=int, default=2, help="one frame in so many")
    parser.add_argument("--png", type=Path, help="write UnOVOST's label maps here, as DAVIS wants them")
    options = parser.parse_args()
    source, network, flow, settings = (
        Davis(options.davis),
        BackgroundNet.from_pretrained(),
        DisFlow(),
        MiningSettings(score_threshold=MINVIS_SCORE_THRESHOLD, weight_flow=0),
    )
    makers = {"": (options.weights, options.cache)}
    plus_cache = options.plus_cache or options.cache.with_name(options.cache.name + "-plus")
    names = source.names(options.clips)
    if options.refine:
        torch.set_num_threads(1)
        options.plus = refined(source, names[::2], options.refine, options)
    if options.plus:
        makers["+"] = (options.plus, plus_cache)
    rows = {}
    for name in names:
        clip = mining_clip(source, name, options.frames, options.step)
        for sign, (weights, cache) in makers.items():
            cache.mkdir(parents=True, exist_ok=True)
            found = proposals(clip, cache, lambda weights=weights: MinvisProposals(weights, "cpu"))
            for way, maps, sure in ways(clip, found, network, settings, flow, alone=not sign):
                truths = clip.truths if sure is None else [clip.truths[t] for t in sure]
                rows.setdefault(way + sign, []).append(score(maps, truths))
                if options.png and way + sign == "UnOVOST":
                    for picture, labels in zip(clip.pictures, maps, strict=True):
                        write_label_map(options.png / name / f"{picture.stem}.png", labels)
        print(f"{name}: " + ", ".join(f"{way} {100 * scores[-1][0]:.0f}" for way, scores in rows.items()), flush=True)
    show(f"{len(names)} sequences", rows)
    if options.refine:
        show(f"the {len(names[1::2])} sequences that were not mined", {way: row[1::2] for way, row in rows.items()})


def show(title, rows):
    print(f"\n{title}, one merged object: mean J and F of the best track [paper]")
    for way, scores in rows.items():
        j, f = 100 * np.mean(scores, axis=0)
        print(f"{way:<26} {j:5.1f}  {f:5.1f}   {PAPER.get(way, '')}", flush=True)


if __name__ == "__main__":
    main()
