"""When actions happen in videos: the annotation files of ActivityNet and of THUMOS14, as one type."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fewmask.datasets import json_file
from fewmask.errors import DatasetError
from fewmask.media.atomic import write_json

_AMBIGUOUS = "Ambiguous"  # THUMOS14: stretches of which nobody could say what they show


@dataclass(frozen=True)
class Action:
    """One stretch of a video that shows an action.

    Attributes:
        label: name of the class.
        start: seconds from the beginning of the video.
        end: seconds, after ``start``.
    """

    label: str
    start: float
    end: float


@dataclass(frozen=True)
class ActionVideo:
    """A video and what happens in it.

    Attributes:
        name: of the file, without its ending.
        duration: seconds; None where the annotations do not tell (THUMOS14).
        subset: "training", "validation", "testing" and the like, as the file has it; "" where it has none.
        actions: in order of start.
    """

    name: str
    duration: float | None
    subset: str
    actions: tuple[Action, ...]


def read_activitynet(path: Path) -> list[ActionVideo]:
    """An ActivityNet file: ``{"database": {name: {"duration", "subset", "annotations": [{"label", "segment"}]}}}``.

    Raises:
        DatasetError: not such a file, or a stretch that is no stretch; names file, video and key.
    """
    videos = []
    for name, entry in json_file.field(json_file.load_object(path), "database", dict, str(path)).items():
        where = f"{path}: database[{name!r}]"
        json_file.relative_name(name, where)
        if not isinstance(entry, dict):
            raise DatasetError(f"{where} is no object; give duration, subset and annotations")
        duration = float(json_file.number(entry, "duration", where))
        if duration <= 0:
            raise DatasetError(f"{where}: 'duration' is {duration}, expected seconds above 0")
        subset = json_file.field(entry, "subset", str, where) if "subset" in entry else ""
        found = json_file.entries(entry, "annotations", where) if "annotations" in entry else []
        actions = [_action(annotation, f"{where}: annotations[{place}]") for place, annotation in enumerate(found)]
        videos.append(ActionVideo(name, duration, subset, _in_order(actions)))
    return videos


def write_activitynet(path: Path, videos: Sequence[ActionVideo]) -> None:
    """Write what ``read_activitynet`` reads.

    Raises:
        DatasetError: a video without a duration.
    """
    database = {}
    for video in videos:
        if video.duration is None:
            raise DatasetError(f"{video.name}: its duration is not known, and ActivityNet files need it")
        notes = [{"label": action.label, "segment": [action.start, action.end]} for action in video.actions]
        database[video.name] = {"duration": video.duration, "subset": video.subset, "annotations": notes}
    write_json(path, {"version": "1.3", "database": database})


def read_thumos14(folder: Path, subset: str = "test") -> list[ActionVideo]:
    """THUMOS14's folder of ``CLASS_val.txt`` or ``CLASS_test.txt``, lines ``video_test_0000004  12.3 14.5``.

    ``Ambiguous_*.txt`` is left out. Which videos show nothing the files do not tell, nor how long a video is.

    Args:
        folder: with the text files.
        subset: "val" or "test", the ending of the files' names.

    Raises:
        DatasetError: no such file in the folder, or a line that is none of these; names file and line.
    """
    files = sorted(folder.glob(f"*_{subset}.txt"))
    files = [file for file in files if not file.name.startswith(_AMBIGUOUS)]
    if not files:
        raise DatasetError(f"{folder}: holds no CLASS_{subset}.txt; give the folder of THUMOS14's temporal annotations")
    found: dict[str, list[Action]] = {}
    for file in files:
        label = file.stem.removesuffix(f"_{subset}")
        try:
            lines = file.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DatasetError(f"{file}: cannot be read ({error})") from error
        for number, line in enumerate(lines, 1):
            if line.strip():
                name, action = _line(line, label, f"{file} line {number}")
                found.setdefault(name, []).append(action)
    return [ActionVideo(name, None, subset, _in_order(actions)) for name, actions in sorted(found.items())]


def _line(line: str, label: str, where: str) -> tuple[str, Action]:
    words = line.split()
    if len(words) != 3 or not re.fullmatch(r"[\w.\-]+", words[0]):
        raise DatasetError(f"{where}: expected a video's name, start and end in seconds, found {line[:60]!r}")
    try:
        start, end = float(words[1]), float(words[2])
    except ValueError:
        raise DatasetError(f"{where}: {words[1][:20]!r} {words[2][:20]!r} are no seconds") from None
    return words[0], _checked(label, start, end, where)


def _action(entry: dict[str, object], where: str) -> Action:
    label = json_file.field(entry, "label", str, where)
    segment = json_file.field(entry, "segment", list, where)
    if len(segment) != 2 or not all(map(json_file.is_number, segment)):
        raise DatasetError(f"{where}: 'segment' is not [start, end] in seconds")
    return _checked(label, float(segment[0]), float(segment[1]), where)


def _checked(label: str, start: float, end: float, where: str) -> Action:
    if not (math.isfinite(start) and math.isfinite(end) and 0 <= start < end):
        raise DatasetError(f"{where}: the stretch from {start} to {end} s has no length or begins before the video")
    return Action(label, start, end)


def _in_order(actions: Sequence[Action]) -> tuple[Action, ...]:
    return tuple(sorted(actions, key=lambda action: (action.start, action.end, action.label)))
