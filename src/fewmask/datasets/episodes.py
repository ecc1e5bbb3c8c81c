"""Few-shot test episodes: which frames support which query video.

Protocol I (DAN): the supports are drawn once per run and class; the other videos of the class are the queries.
Protocol II (VIPMT): every video of the class is a query, with its own supports.
Protocol II of TTI: supports are taken out of the class first, then as many queries as videos are left are drawn with
replacement, each with its own supports among the videos left. The three do not give equal numbers.

Every draw is a function of (run, fold, class, query) alone (draws.py), so neither the order of evaluation nor the
number of processes changes an episode. Unlike the released code of VIPMT on MiniVSPW, a support frame always shows
the class.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from fewmask.datasets import json_file
from fewmask.datasets.draws import draw
from fewmask.errors import DatasetError
from fewmask.media.atomic import write_json

Protocol = Literal["I", "II", "II-tti"]
Presence = Mapping[int, Mapping[str, Sequence[int]]]
"""Class id -> video name -> the frames in which the class is visible, ascending."""


@dataclass(frozen=True)
class Episode:
    """One query video of one class and its supports, each (video name, frame index)."""

    run: int
    fold: int
    class_id: int
    query: str
    supports: tuple[tuple[str, int], ...]


def episodes(
    presence: Presence,
    *,
    protocol: Protocol = "II",
    fold: int,
    classes: Iterable[int],
    runs: Iterable[int] = range(5),
    shots: int = 5,
) -> list[Episode]:
    """All episodes of a fold, run by run, class by class, query by query.

    Args:
        presence: where each class is visible; only videos with at least one frame count as videos of the class.
        protocol: "I", "II" (VIPMT) or "II-tti".
        fold: the fold's number; part of the seed.
        classes: the fold's test classes.
        runs: run numbers; part of the seed. The papers average five runs.
        shots: supports per episode, one frame each of ``shots`` different videos.

    Raises:
        DatasetError: a class has too few videos for its supports and one query.
    """
    make = _PROTOCOLS[protocol]
    order = sorted(classes)
    return [episode for run in runs for category in order for episode in make(presence, run, fold, category, shots)]


def _protocol_1(presence: Presence, run: int, fold: int, category: int, shots: int) -> list[Episode]:
    videos = _videos(presence, category, shots)
    support = draw(videos, shots, "protocol I", run, fold, category)
    frames = _one_frame_each(presence[category], support, "protocol I frame", run, fold, category)
    return [Episode(run, fold, category, query, frames) for query in videos if query not in support]


def _protocol_2(presence: Presence, run: int, fold: int, category: int, shots: int) -> list[Episode]:
    videos = _videos(presence, category, shots)
    found = []
    for query in videos:
        others = [video for video in videos if video != query]
        support = draw(others, shots, "protocol II", run, fold, category, query)
        frames = _one_frame_each(presence[category], support, "protocol II frame", run, fold, category, query)
        found.append(Episode(run, fold, category, query, frames))
    return found


def _protocol_2_tti(presence: Presence, run: int, fold: int, category: int, shots: int) -> list[Episode]:
    videos = _videos(presence, category, shots)
    found = []
    for number in range(len(videos) - shots):
        support = draw(videos, shots, "protocol II-tti", run, fold, category, number)
        left = [video for video in videos if video not in support]
        query = draw(left, 1, "protocol II-tti query", run, fold, category, number)[0]
        frames = _one_frame_each(presence[category], support, "protocol II-tti frame", run, fold, category, number)
        found.append(Episode(run, fold, category, query, frames))
    return found


_PROTOCOLS: Mapping[Protocol, Callable[[Presence, int, int, int, int], list[Episode]]] = {
    "I": _protocol_1,
    "II": _protocol_2,
    "II-tti": _protocol_2_tti,
}


def _videos(presence: Presence, category: int, shots: int) -> list[str]:
    videos = sorted(video for video, frames in presence.get(category, {}).items() if frames)
    if len(videos) <= shots:
        raise DatasetError(
            f"class {category} is visible in {len(videos)} videos; {shots} supports and a query need {shots + 1}"
        )
    return videos


def _one_frame_each(
    frames_of: Mapping[str, Sequence[int]], videos: Sequence[str], *key: int | str
) -> tuple[tuple[str, int], ...]:
    return tuple((video, draw(frames_of[video], 1, *key, video)[0]) for video in videos)


def write_episodes(path: str | Path, found: Sequence[Episode], *, protocol: Protocol) -> None:
    """Write episodes as JSON, whole or not at all.

    Raises:
        FewmaskError: the folder cannot be written.
    """
    write_json(Path(path), {"protocol": protocol, "episodes": [asdict(episode) for episode in found]}, indent=1)


def read_episodes(path: str | Path) -> list[Episode]:
    """The episodes of a file that `write_episodes` wrote.

    Raises:
        DatasetError: malformed.
    """
    path = Path(path)
    found = []
    for index, entry in enumerate(json_file.entries(json_file.load_object(path), "episodes", str(path))):
        where = f"{path}: episodes[{index}]"
        supports = json_file.field(entry, "supports", list, where)
        for support in supports:
            pair = isinstance(support, list) and [type(part) for part in support] == [str, int]
            if not pair or support[1] < 0:
                raise DatasetError(f"{where}: a support must be [video name, frame index]")
        run, fold, category = (json_file.integer(entry, key, where) for key in ("run", "fold", "class_id"))
        query = json_file.field(entry, "query", str, where)
        found.append(Episode(run, fold, category, query, tuple((video, frame) for video, frame in supports)))
    return found
