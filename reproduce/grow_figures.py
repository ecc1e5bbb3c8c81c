"""How well a kind is found in held-out videos, and how much of it survives every stage of the loop."""

from collections.abc import Callable, Container, Mapping, Sequence
from pathlib import Path

import numpy as np
from grow_scenes import Clip, Scene

from fewmask.datasets.ytvis_types import (
    YtvisCategory,
    YtvisDataset,
    YtvisVideo,
    annotation_from_masks,
    result_from_masks,
)
from fewmask.media import rle
from fewmask.media.frames import open_frames
from fewmask.media.rle import Rle
from fewmask.metrics.ytvis import evaluate_ytvis
from fewmask.mining.mined_video import MinedVideo
from fewmask.minvis.stream import MinVIS
from fewmask.minvis.stream_settings import StreamSettings
from fewmask.pipelines.class_instances import QueryInstances
from fewmask.pipelines.grow.find import FoundVideo
from fewmask.pipelines.kinship import Kinship, beliefs_of
from fewmask.vipmt.model import VIPMT, clips_of
from fewmask.vipmt.stream import ClipStream
from fewmask.vipmt.support import SupportSet

Masks = dict[int, Rle]
Scored = list[tuple[float, Masks]]
"""Tracks of the kind: score, and masks by frame."""
FOUND = 0.5
"""Overlap over a video from which an object counts as found."""
SHOWN = 0.3
"""Score from which a track's pixels count for J, as in `fewmask.pipelines.grow.measure`."""
TRACKS = 50


def figures(scene: Scene, answer: Callable[[Clip], Scored]) -> dict[str, float]:
    """AP50 of the tracks, and J: mean IoU of the kind's pixels over the frames where it is or is said to be."""
    videos, truths, results, j = [], [], [], []
    for number, clip in enumerate(scene.held_out, 1):
        names = tuple(f"{clip.name}/{t}.jpg" for t in range(clip.length))
        videos.append(YtvisVideo(number, clip.size[1], clip.size[0], clip.length, names))
        for masks in clip.objects or ():
            truths.append(
                annotation_from_masks(
                    id=len(truths) + 1, video_id=number, category_id=1,
                    segmentations=[masks.get(t) for t in range(clip.length)],
                )
            )  # fmt: skip
        tracks = answer(clip)
        for score, masks in tracks:
            results.append(
                result_from_masks(
                    video_id=number, category_id=1, score=score,
                    segmentations=[masks.get(t) for t in range(clip.length)],
                )
            )  # fmt: skip
        shown = [masks for score, masks in tracks if score >= SHOWN]
        for t in range(clip.length):
            ours, theirs = _at(shown, t), _at(clip.objects or [], t)
            if ours or theirs:
                both = ours and theirs
                j.append(float(rle.iou_matrix([rle.union(ours)], [rle.union(theirs)])[0, 0]) if both else 0.0)
    dataset = YtvisDataset(tuple(videos), (YtvisCategory(1, scene.kind),), tuple(truths), {})
    stats = evaluate_ytvis(dataset, results).stats
    return {"AP50": 100 * (stats["AP50"] or 0.0), "J": 100 * float(np.mean(j)) if j else 0.0}


def _at(tracks: Sequence[Masks], t: int) -> list[Rle]:
    return [masks[t] for masks in tracks if t in masks]


def named(weights: str | Path, names: set[str] | None, device: str) -> Callable[[Clip], Scored]:
    """Tracks that a segmenter gives one of these names; all of them, where it has none or ``names`` is None."""
    model = MinVIS.from_pretrained(weights, device=device)
    ids = {key for key, name in model.categories.items() if names is None or name in names}

    def answer(clip: Clip) -> Scored:
        found = model.segment(clip.source, StreamSettings(top_k=TRACKS, mode="exact", batch=4)).tracks
        tracks: Scored = []
        for track in found:
            masks = {t: mask for t, mask in enumerate(track.masks) if mask is not None}
            if masks and (track.category_id in ids or not ids):
                tracks.append((track.score, masks))
        return tracks

    return answer


def believed(weights: str | Path, supports: SupportSet, device: str) -> set[str] | None:
    """The name that a segmenter has for what is shown: the likeliest over all pictures; None if it sees nothing."""
    model = MinVIS.from_pretrained(weights, device=device)
    if len(model.categories) < 2:
        return None
    found = [
        belief
        for pictures in supports.classes.values()
        for picture in pictures
        for belief in beliefs_of(model.segmenter, picture.rgb, [rle.encode(picture.mask)])
        if belief is not None
    ]
    return {model.categories[int(np.mean(found, axis=0).argmax()) + 1]} if found else None


def few_shot(supports: SupportSet, network: str, segmenter: str, device: str) -> Callable[[Clip], Scored]:
    """Tracks of ``segment --support --instances objects`` without any training."""
    fitted = VIPMT.from_pretrained(network, device=device).fit(supports)
    model = MinVIS.from_pretrained(segmenter, device=device)

    def answer(clip: Clip) -> Scored:
        stream = ClipStream(fitted.network, fitted.support)
        kinship = Kinship.of_supports(model.segmenter, supports)
        objects = QueryInstances(model, outlines=True, kinship=kinship)
        tracks: dict[int, tuple[list[float], Masks]] = {}
        with open_frames(clip.source) as frames:
            for group in clips_of(frames, fitted.network.config.clip_length):
                for result in objects.step(group, stream.step(group)):
                    for track, score, mask in zip(result.track_ids, result.scores, result.masks, strict=True):
                        if mask is not None:
                            scores, masks = tracks.setdefault(track, ([], {}))
                            scores.append(score)
                            masks[result.index] = mask
        return [(float(np.mean(scores)), masks) for scores, masks in tracks.values()]

    return answer


def overlap(ours: Masks, theirs: Masks, step: int = 1) -> float:
    """IoU over the frames of a video that were looked at: shared pixels over all pixels."""
    shared = either = 0.0
    for t in {t for t in (*ours, *theirs) if t % step == 0}:
        areas = [rle.area(masks[t]) if t in masks else 0 for masks in (ours, theirs)]
        both = rle.iou_matrix([ours[t]], [theirs[t]])[0, 0] if t in ours and t in theirs else 0.0
        inside = both * sum(areas) / (1 + both)
        shared, either = shared + inside, either + sum(areas) - inside
    return float(shared / either) if either else 0.0


def stages(
    scene: Scene, mined: Path, searched: Container[str], find: Path, kept: Mapping[str, Container[int]]
) -> dict[str, float]:
    """Of the kind's objects in the pool, the share that each stage of a round still has; and how true what is kept is.

    Args:
        scene: with the truth.
        mined: folder of the stage mined.
        searched: names of the videos that were.
        find: folder of the stage find.
        kept: by video, the tracks that are.
    """
    held: dict[str, list[bool]] = {name: [] for name in ("mined", "retrieved", "found", "kept")}
    true, fits = [], []
    for clip in scene.pool:
        there = clip.name in searched and (find / f"{clip.name}.json").exists()
        found = FoundVideo.read(find / f"{clip.name}.json") if there else None
        tracks = {} if found is None else {track.track: track.masks for track in found.tracks}
        step = 1 if found is None else found.step
        own = [masks for track, masks in tracks.items() if track in kept.get(clip.name, ())]
        seen = _mined(mined / "dataset" / "results" / f"{clip.name}.json")
        for masks in clip.objects or ():
            held["mined"].append(any(overlap(track, masks) >= FOUND for track in seen))
            held["retrieved"].append(clip.name in searched)
            held["found"].append(any(overlap(track, masks, step) >= FOUND for track in tracks.values()))
            held["kept"].append(any(overlap(track, masks, step) >= FOUND for track in own))
        for track in own if clip.objects is not None else ():
            best = max((overlap(track, masks, step) for masks in clip.objects or ()), default=0.0)
            true.append(best >= FOUND)
            fits += [best] if best >= FOUND else []
    shares = {name: 100 * float(np.mean(values)) if values else 0.0 for name, values in held.items()}
    return {**shares, "objects": float(len(held["kept"])), "kept tracks": float(len(true)),
            "kept and true": 100 * float(np.mean(true)) if true else 0.0,
            "IoU of those": 100 * float(np.mean(fits)) if fits else 0.0}  # fmt: skip


def _mined(path: Path) -> list[Masks]:
    if not path.exists():
        return []
    video = MinedVideo.read(path)
    tracks: dict[int, Masks] = {}
    for place, frame in enumerate(video.frames):
        for mask in frame:
            tracks.setdefault(mask.track, {})[place * video.frame_step] = mask.mask
    return list(tracks.values())
