"""Matches of single videos put together, whoever computed them: the same figures as of all videos at once."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from fewmask.media.own_files import reading_arrays
from fewmask.metrics.track_matching import Matches, TrackRange


def join_matches(parts: Sequence[Matches]) -> Matches:
    """The matches of all videos, as `match_tracks` gives them for a dataset of them.

    Args:
        parts: at least one, of the same ranges and classes, no two of one video.
    """
    class_ids, video_ids, ranks, scores = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("class_ids", "video_ids", "ranks", "scores")
    )
    order = np.lexsort((ranks, video_ids, class_ids))
    hits, ignored = (np.concatenate([getattr(part, name) for part in parts], axis=2) for name in ("hits", "ignored"))
    positives = {key: count for part in parts for key, count in part.positives.items()}
    first = parts[0]
    return Matches(
        first.ranges, first.classes, class_ids[order], video_ids[order], ranks[order], scores[order],
        hits[:, :, order], ignored[:, :, order], positives,
    )  # fmt: skip


def write_matches(path: Path, matches: Matches) -> None:
    """One .npz file, the same bytes for the same matches."""
    about = {"ranges": [asdict(of) for of in matches.ranges], "classes": matches.classes}
    keys = sorted(matches.positives)
    np.savez(
        path, class_ids=matches.class_ids, video_ids=matches.video_ids, ranks=matches.ranks, scores=matches.scores,
        hits=matches.hits, ignored=matches.ignored, about=np.frombuffer(json.dumps(about).encode(), np.uint8),
        positive_of=np.array(keys, np.int64).reshape(-1, 2),
        positives=np.array([matches.positives[key] for key in keys], np.int64).reshape(len(keys), -1),
    )  # fmt: skip


def read_matches(path: Path) -> Matches:
    """What `write_matches` wrote.

    Raises:
        DatasetError: missing or damaged.
    """
    again = "measure its video again"
    # NumPy leaves a file of its own open where it is no zip.
    with reading_arrays(path, again), path.open("rb") as handle, np.load(handle, allow_pickle=False) as stored:
        about = json.loads(stored["about"].tobytes())
        positives = {
            (int(class_id), int(video_id)): count
            for (class_id, video_id), count in zip(stored["positive_of"], stored["positives"], strict=True)
        }
        return Matches(
            tuple(TrackRange(**of) for of in about["ranges"]), tuple(about["classes"]), stored["class_ids"],
            stored["video_ids"], stored["ranks"], stored["scores"], stored["hits"], stored["ignored"], positives,
        )  # fmt: skip
