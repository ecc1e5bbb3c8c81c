"""One decoder over one video file: frames with their true indices, and which of them are broken."""

from collections.abc import Callable, Generator, Iterator
from typing import Any

import av

from fewmask.media.container import reason, video_stream
from fewmask.media.packet_times import PacketTimes, packet_times

Decoded = tuple[int, Any]  # index and PyAV frame, or None in its place where the frame is broken
_Timed = tuple[int | None, Any]  # the same with the presentation time instead of the index


class Decoding:
    """A pass over the file, with threads at first, which can be restarted at a frame.

    Attributes:
        stream: the video stream.
        packets_read: packets from the beginning of the file to where the pass stands.
        cut_short: the last packet read was not whole.
        read_error: what ended the reading of the container when that was not its end.
    """

    def __init__(self, opener: Callable[[], Any], *, keep_traces: bool) -> None:
        """``keep_traces`` keeps frames that decode but depend on a broken one; otherwise they count as broken."""
        self._opener = opener
        self._keep_traces = keep_traces
        self._times: PacketTimes | None = None
        self._times_known = False
        self._undecodable: set[int] = set()
        self.packets_read = 0
        self._open(threads=True)

    def close(self) -> None:
        """Release the file."""
        self._container.close()

    def restart(self, index: int, *, threads: bool) -> None:
        """Open the file anew, and stand before frame ``index`` or further ahead."""
        self._learn_times()
        self.close()
        self._open(threads)
        if self._times is None or index >= len(self._times.frames):
            return
        seek_time = self._times.seek_time(index)
        if seek_time is None:
            return
        try:
            self._container.seek(seek_time, stream=self.stream)
            self._sought = True
        except av.FFmpegError:  # not seekable: decode from the beginning
            self.close()
            self._open(threads)

    def lost_some_after(self, count: int) -> bool:
        """Whether a threaded pass that ended at index ``count`` swallowed frames: damage at the end gives no error."""
        packets_read = self.packets_read
        if self._times is None and packets_read <= count:
            return False
        self._learn_times()
        self.packets_read = max(packets_read, self.packets_read)
        return self._times is not None and count < len(self._times.frames)

    def run(self, start: int) -> Iterator[Decoded]:
        """Decoded frames from index ``start`` on, None for broken ones.

        Raises:
            FFmpegError: there is damage ahead, and good frames after the last one given may be lost with it. Restart
                without threads behind the last frame given; each damaged packet raises once.
        """
        if self._times is not None and (self._sought or not self._threads):
            return self._run_by_time(start, self._times)
        return self._run_by_count(start)

    def _learn_times(self) -> None:
        if not self._times_known:
            self.close()
            self._open(threads=True)
            self._times = packet_times(self._container, self.stream)
            self._times_known = True

    def _open(self, threads: bool) -> None:
        self._container = self._opener()
        self.stream = video_stream(self._container, "video")
        self.stream.thread_type = "AUTO" if threads else "NONE"
        if not threads:
            self.stream.codec_context.thread_count = 1
        self.packets_read = 0
        self.cut_short = False
        self.read_error: str | None = None
        self._threads = threads
        self._sought = False

    def _run_by_count(self, start: int) -> Iterator[Decoded]:
        for index, (_, frame) in enumerate(self._frames_and_damage()):
            if index >= start:
                yield index, frame

    def _run_by_time(self, start: int, times: PacketTimes) -> Iterator[Decoded]:
        """The index is looked up, so that frames which a damage swallowed silently shift nothing."""
        expected = start
        for pts, frame in self._frames_and_damage():
            index = times.index_of(pts) if pts is not None else None
            if index is None or index < expected:
                continue
            if not self._threads:
                yield from ((lost, None) for lost in range(expected, index))
            yield index, frame
            expected = index + 1
        self.packets_read = len(times.frames)
        if not self._threads:
            yield from ((lost, None) for lost in range(expected, len(times.frames)))

    def _frames_and_damage(self) -> Iterator[_Timed]:
        """Time and frame in the order of showing; None as the frame where a packet could not be decoded."""
        lost: set[int] = set()
        traces = _Traces()
        for packet in self._packets():
            try:
                frames, damaged = self._decode(packet)
            except av.FFmpegError:
                if not self._threads:  # good frames from before the damage would be lost if decoding just went on
                    for frame in self._drained():
                        yield frame.pts, None if self._is_broken(frame, traces) else frame
                raise
            if packet is not None:
                traces.see(packet, damaged)
                if damaged and packet.pts is None:
                    yield None, None
                elif damaged:
                    lost.add(packet.pts)
            for frame in frames:
                for pts in sorted(pts for pts in lost if frame.pts is not None and pts < frame.pts):
                    lost.remove(pts)
                    yield pts, None
                yield frame.pts, None if self._is_broken(frame, traces) else frame
        yield from ((pts, None) for pts in sorted(lost))

    def _is_broken(self, frame: Any, traces: "_Traces") -> bool:
        has_traces = traces.take(frame.pts)
        return frame.is_corrupt or (has_traces and not self._keep_traces)

    def _decode(self, packet: Any) -> tuple[list[Any], bool]:
        """The frames that a packet brings out of the decoder, and whether the packet itself is damaged."""
        if packet is not None and packet.is_corrupt:
            self.cut_short = True
            return [], True
        if packet is not None and packet.pts in self._undecodable:
            return [], True
        try:
            return self.stream.codec_context.decode(packet), False
        except av.FFmpegError:
            if self._threads:
                raise
            if self._times is not None and packet is not None and packet.pts is not None:
                self._undecodable.add(packet.pts)
                raise
            return [], True

    def _drained(self) -> list[Any]:
        """What the decoder still holds; afterwards it can only be restarted."""
        try:
            frames: list[Any] = self.stream.codec_context.decode(None)
        except av.FFmpegError:
            return []
        return frames

    def _packets(self) -> Generator[Any, None, None]:
        """Every packet with data, then None, which makes the decoder give what it still holds."""
        try:
            for packet in self._container.demux(self.stream):
                if packet.size == 0:
                    continue
                if not packet.is_discard:
                    self.packets_read += 1
                yield packet
        except av.FFmpegError as error:
            self.read_error = reason(error)
        yield None


class _Traces:
    """Which frames may show traces of a damaged one: those decoded after it, until the next key frame."""

    def __init__(self) -> None:
        self._dirty = False
        self._clean_from: int | None = None  # frames shown before a key frame may still look back past it
        self._times: set[int] = set()

    def see(self, packet: Any, damaged: bool) -> None:
        if damaged:
            self._dirty, self._clean_from = True, None
            return
        if self._dirty and packet.is_keyframe:
            self._dirty, self._clean_from = False, packet.pts
        leading = self._clean_from is not None and packet.pts is not None and packet.pts < self._clean_from
        if (self._dirty or leading) and packet.pts is not None:
            self._times.add(packet.pts)

    def take(self, pts: int | None) -> bool:
        """Whether the frame shown at ``pts`` may have traces; asked once per frame."""
        if pts not in self._times:
            return False
        self._times.remove(pts)
        return True
