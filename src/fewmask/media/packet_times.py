"""When each frame of a video file is shown: read from its packets without decoding, so that a frame can be sought."""

from dataclasses import dataclass
from typing import Any

import av
import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class PacketTimes:
    """Presentation times in the stream's time base, ascending: of every frame, and of the key frames alone."""

    frames: npt.NDArray[np.int64]
    key_frames: npt.NDArray[np.int64]

    def index_of(self, pts: int) -> int | None:
        """The position of the frame shown at ``pts``, or None when no frame is."""
        index = int(np.searchsorted(self.frames, pts))
        return index if index < len(self.frames) and int(self.frames[index]) == pts else None

    def seek_time(self, index: int) -> int | None:
        """The key frame to start decoding at for an exact frame ``index``; None when only the beginning is safe.

        One key frame more than needed is decoded: streams that refresh gradually are whole by the next one.
        """
        before = int(np.searchsorted(self.key_frames, self.frames[index], side="right"))
        return int(self.key_frames[before - 2]) if before > 2 else None


def packet_times(container: Any, stream: Any) -> PacketTimes | None:
    """Read all packets of ``stream``; None where their times cannot say which frame is which.

    That is so when times are missing, repeated, or earlier than the first packet's (frames that a decoder drops).
    """
    if stream.codec_context.name == "vp8":  # has packets that show nothing
        return None
    times: list[int] = []
    keys: list[int] = []
    try:
        for packet in container.demux(stream):
            if packet.size == 0 or packet.is_discard:
                continue
            if packet.pts is None:
                return None
            times.append(packet.pts)
            if packet.is_keyframe:
                keys.append(packet.pts)
    except av.FFmpegError:
        pass  # what can be reached before the damage can still be sought
    ordered = np.unique(np.asarray(times, dtype=np.int64))
    if not times or len(ordered) < len(times) or times[0] != ordered[0]:
        return None
    return PacketTimes(ordered, np.unique(np.asarray(keys, dtype=np.int64)))


def declared_length(stream: Any) -> int | None:
    """The exact number of frames where the container holds a complete index (mp4, mov), else None."""
    entries = getattr(stream, "index_entries", None)
    if not entries or not stream.frames or len(entries) != stream.frames:
        return None
    return sum(not entry.is_discard for entry in entries)
