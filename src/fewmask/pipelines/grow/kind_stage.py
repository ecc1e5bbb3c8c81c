"""The stage *supports*: which kinds are looked for in a round, and by which examples.

In the first round they are what the user shows, with the mined tracks that resemble it, or the groups that are large,
tight and confident. Later they are the surest of what was kept in the round before, one or two of a video, after what
the user shows; what was looked at and refused shows what is not meant.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fewmask.errors import VideoError
from fewmask.media import rle
from fewmask.pipelines.grow.agreement import Verdict
from fewmask.pipelines.grow.find import FoundTrack
from fewmask.pipelines.grow.group_choice import Choice
from fewmask.pipelines.grow.group_stage import GroupedTracks, typical, unlike
from fewmask.pipelines.grow.groups import Vectors
from fewmask.pipelines.grow.kept_dataset import JudgedVideo
from fewmask.pipelines.grow.kinds import MOST_EXAMPLES, MOST_OTHERS, Kind, Kinds
from fewmask.pipelines.grow.support_pictures import Example
from fewmask.pipelines.grow.track_views import SeenTrack, mined_picture, pictures_of

MOST_OTHER_VECTORS = 200
"""What is not meant is known by its look alone, so many of it can be kept."""


def shown_kind(
    name: str,
    hint: Sequence[Example],
    not_shown: Sequence[Example],
    hint_vectors: Vectors,
    found: GroupedTracks,
    dataset: Path,
) -> Kinds:
    """The kind that the user shows: the hint first, then mined tracks that resemble it.

    Args:
        name: of the kind.
        hint: masked pictures, at least one.
        not_shown: of what is not meant.
        hint_vectors: of the hint, unit [H, D].
        found: the mined tracks and their one group, or none.
        dataset: of the stage mined.
    """
    examples, vectors = list(hint[:MOST_EXAMPLES]), [hint_vectors]
    members: set[int] = set()
    for group in found.groups[:1]:
        members = set(group.members)
        chosen = typical(group, found.tracks, MOST_EXAMPLES - len(examples))
        examples += [example for place in chosen for example in _best_view(dataset, found.tracks[place])]
        vectors.append(found.vectors[typical(group, found.tracks, MOST_EXAMPLES)])
    wanted = np.concatenate(vectors)
    others, other_vectors = _others(found, dataset, members, wanted)
    return Kinds((Kind(name, tuple(examples), wanted),), (*not_shown, *others)[:MOST_OTHERS], other_vectors)


def grouped_kinds(choice: Choice, found: GroupedTracks, dataset: Path) -> Kinds:
    """The kinds of the groups that are taught."""
    kinds = []
    members: set[int] = set()
    for group in choice.taught:
        members |= set(group.members)
        places = typical(group, found.tracks, MOST_EXAMPLES)
        examples = [example for place in places for example in _best_view(dataset, found.tracks[place])]
        kinds.append(Kind(group.name, tuple(examples), found.vectors[places]))
    wanted = np.concatenate([kind.vectors for kind in kinds]) if kinds else np.zeros((0, found.vectors.shape[1]))
    others, other_vectors = _others(found, dataset, members, np.asarray(wanted, np.float32))
    return Kinds(tuple(kinds), tuple(others), other_vectors)


def next_kinds(
    before: Kinds,
    videos: Sequence[JudgedVideo],
    vectors: dict[tuple[str, int], Vectors],
    given: int,
) -> Kinds:
    """The kinds of the next round.

    Args:
        before: of the round before.
        videos: what it found and judged.
        vectors: what its tracks look like, by (video, track).
        given: examples of the first kind that the user gave; they stay.
    """
    kinds = []
    for number, kind in enumerate(before.kinds):
        sure = sorted(
            (
                (verdict.evidence.confidence, video, track)
                for video in videos
                for track, verdict in _with(video, "kept", number)
            ),
            key=lambda entry: (-entry[0], entry[1].found.video, entry[2].track),
        )
        stay = given if number == 0 else 0
        examples, own = list(kind.examples[:stay]), [kind.vectors[:stay]]
        taken: dict[str, int] = {}
        for _, video, track in sure:
            name = video.found.video
            taken[name] = taken.get(name, 0) + 1
            if taken[name] > 2:
                continue
            own.append(vectors[name, track.track][None])
            if len(examples) < MOST_EXAMPLES:
                examples += _largest(video, track)
        if len(examples) == stay:  # nothing was kept: what was believed before is all there is
            examples, own = list(kind.examples), [kind.vectors]
        kinds.append(Kind(kind.name, tuple(examples), np.concatenate(own)))
    refused = [
        (max(verdict.evidence.inside, verdict.evidence.look), video, track)
        for video in videos
        for number in range(len(before.kinds))
        for track, verdict in _with(video, "other", number)
    ]
    refused.sort(key=lambda entry: (-entry[0], entry[1].found.video, entry[2].track))
    mistaken = [(video, track) for worth, video, track in refused if worth >= 0.5][:MOST_OTHERS]
    others = [example for video, track in mistaken for example in _largest(video, track)]
    refused_vectors = [vectors[video.found.video, track.track][None] for _, video, track in refused]
    other_vectors = np.concatenate([before.other_vectors, *refused_vectors])[-MOST_OTHER_VECTORS:]
    return Kinds(tuple(kinds), (*others, *before.others)[:MOST_OTHERS], other_vectors)


def _with(video: JudgedVideo, decision: str, kind: int) -> list[tuple[FoundTrack, Verdict]]:
    return [
        (track, video.verdicts[track.track])
        for track in video.tracks(decision)
        if video.verdicts[track.track].kind == kind
    ]


def _others(found: GroupedTracks, dataset: Path, members: set[int], wanted: Vectors) -> tuple[list[Example], Vectors]:
    """Tracks outside the kinds: a few as pictures, all that are sure as vectors."""
    outside = [place for place in range(len(found.tracks)) if place not in members]
    confidences = [found.tracks[place].confidence for place in outside]
    chosen = unlike(found.vectors[outside], wanted, confidences, MOST_OTHERS)
    examples = [example for place in chosen for example in _best_view(dataset, found.tracks[outside[place]])]
    alike = found.vectors[outside] @ wanted.T if outside and len(wanted) else np.zeros((len(outside), 1))
    # What resembles the wanted most, though outside the group, may be one of it: only the farther half speaks.
    far: list[int] = []
    if outside:
        far = np.argsort(alike.max(1), kind="stable")[: max(1, len(outside) // 2)].tolist()
    return examples, found.vectors[[outside[place] for place in far]][:MOST_OTHER_VECTORS]


def _best_view(dataset: Path, track: SeenTrack) -> list[Example]:
    """The view with the largest mask; none if its picture is gone."""
    best = max(track.views, key=lambda view: rle.area(view.mask))
    try:
        rgb = mined_picture(dataset, track.video, best.frame)
    except VideoError:
        return []
    return [Example(rgb, best.mask, f"{track.key}, frame {best.frame}")]


def _largest(video: JudgedVideo, track: FoundTrack) -> list[Example]:
    """The frame of a found track with the largest mask; none if it cannot be read any more."""
    index = max(track.masks, key=lambda frame: (rle.area(track.masks[frame]), -frame))
    try:
        return [
            Example(rgb, track.masks[frame], f"{video.found.video}#{track.track}, frame {frame}")
            for frame, rgb in pictures_of(video.found.source, [index])
        ]
    except VideoError:
        return []
