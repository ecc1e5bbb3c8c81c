import os
import struct
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest

from fewmask.errors import VideoError
from fewmask.media.container import video_stream
from fewmask.media.frames import open_frames

from .conftest import picture, write_video


def close_to_picture(rgb: np.ndarray, index: int) -> bool:
    expected = picture(index, *rgb.shape[:2]).astype(int)
    return float(np.abs(rgb.astype(int) - expected).mean()) < 8


@pytest.mark.parametrize(
    ("codec", "suffix", "pix_fmt", "options"),
    [
        ("libx264", "mp4", "yuv420p", {}),
        ("libx265", "mp4", "yuv420p10le", {"x265-params": "log-level=none:pools=1"}),
        ("libvpx-vp9", "webm", "yuv420p", {"cpu-used": "8", "deadline": "realtime"}),
        ("libsvtav1", "mp4", "yuv420p", {"preset": "12", "svtav1-params": "lp=1"}),
        ("mpeg4", "avi", "yuv420p", {"b": "3000000"}),
        ("libx264", "mkv", "yuv444p", {}),
    ],
)
def test_codecs(make_video, codec, suffix, pix_fmt, options):
    size = (64, 64) if codec == "libsvtav1" else (48, 64)
    path = make_video(f"clip.{suffix}", codec=codec, pix_fmt=pix_fmt, options=options, size=size)
    with open_frames(path) as source:
        assert (source.name, source.size, source.fps, source.is_live) == ("clip", size, 10.0, False)
        assert source.length in (None, 12)
        assert source.estimated_length in (11, 12, 13)
        frames = list(source)
    assert [frame.index for frame in frames] == list(range(12))
    assert np.allclose([frame.time_s for frame in frames], np.arange(12) / 10)
    for frame in frames:
        assert frame.rgb.dtype == np.uint8
        assert frame.rgb.shape == (*size, 3)
        assert frame.rgb.flags.c_contiguous
        assert close_to_picture(frame.rgb, frame.index)


@pytest.mark.parametrize("size", [(35, 51), (51, 35), (17, 18)])
def test_odd_sizes(make_video, size):
    path = make_video("odd.mkv", codec="libx264", pix_fmt="yuv444p", size=size, count=3)
    frames = list(open_frames(path))
    assert [frame.rgb.shape for frame in frames] == [(*size, 3)] * 3
    assert close_to_picture(frames[2].rgb, 2)


def test_one_frame(make_video):
    source = open_frames(make_video(count=1))
    assert source.length == 1
    assert [frame.index for frame in source] == [0]
    assert list(source) == []  # frames come once


def test_variable_rate_keeps_real_times(make_video):
    times = [0, 40, 100, 400, 410, 1000]
    path = make_video("vfr.mkv", count=6, times=times)
    assert [round(frame.time_s, 3) for frame in open_frames(path)] == [time / 1000 for time in times]


@pytest.mark.parametrize(("turns", "matrix"), [(1, (0, 1, -1, 0)), (2, (-1, 0, 0, -1)), (3, (0, -1, 1, 0))])
def test_rotation_tag(make_video, turns, matrix):
    """The track header's matrix, written by the QuickTime rule x' = ax + cy, y' = bx + dy: clockwise quarter turns."""
    path = make_video("phone.mp4", count=3)
    flat = [frame.rgb for frame in open_frames(path)]
    data = bytearray(path.read_bytes())
    header = data.index(b"tkhd") + 4  # version 0: the matrix starts 40 bytes in
    a, b, c, d = (value * 65536 for value in matrix)
    struct.pack_into(">9i", data, header + 40, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    source = open_frames(path)
    frames = list(source)
    assert source.size == ((64, 48) if turns % 2 else (48, 64))
    for before, frame in zip(flat, frames, strict=True):
        assert np.array_equal(frame.rgb, np.rot90(before, -turns))
        assert frame.rgb.flags.c_contiguous


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("short_gop.mp4", {"options": {"g": "5"}}),
        ("b_frames.mkv", {"options": {"g": "6", "bf": "3"}}),
        ("open_gop.mp4", {"options": {"g": "6", "x264-params": "open-gop=1:bframes=3"}}),
        ("one_key.mp4", {"options": {"g": "100"}}),
        ("refresh.mp4", {"options": {"g": "8", "x264-params": "intra-refresh=1:bframes=0"}}),
        (
            "hevc.mp4",
            {
                "codec": "libx265",
                "pix_fmt": "yuv420p10le",
                "options": {"x265-params": "log-level=none:pools=1:keyint=6:min-keyint=6:open-gop=1"},
            },
        ),
        ("vp9.webm", {"codec": "libvpx-vp9", "options": {"g": "6", "cpu-used": "8", "deadline": "realtime"}}),
        ("old.avi", {"codec": "mpeg4", "options": {"g": "6"}}),
        ("raw.h264", {"options": {"g": "6"}}),
        ("vfr.mp4", {"options": {"g": "5"}, "times": [10 * i * i for i in range(30)]}),
    ],
)
def test_start_gives_what_a_linear_decode_gives(make_video, name, settings):
    path = make_video(name, count=30, **settings)
    linear = list(open_frames(path))
    assert len(linear) == 30
    for start in (1, 4, 5, 6, 13, 17, 24, 29):
        sought = list(open_frames(path, start=start))
        assert [frame.index for frame in sought] == list(range(start, 30))
        for ours, theirs in zip(sought, linear[start:], strict=True):
            assert ours.time_s == theirs.time_s
            assert np.array_equal(ours.rgb, theirs.rgb)
    assert list(open_frames(path, start=30)) == []
    assert list(open_frames(path, start=99)) == []


def read_until_error(path: Path) -> tuple[list, str]:
    frames = []
    with pytest.raises(VideoError) as caught:  # noqa: PT012 - frames before the error count
        for frame in open_frames(path):
            frames.append(frame)  # noqa: PERF402
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    return frames, message


def packets_of(path: Path) -> list[tuple[int, int, bool]]:
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        order = sorted(packet.pts for packet in packets)
        return [(packet.pos, packet.size, order.index(packet.pts)) for packet in packets]


@pytest.mark.parametrize("which", [0, 1, 9, 14, 27, 28, 29])
@pytest.mark.parametrize("codec", ["libx264", "libx265", "mpeg4"])
def test_broken_frame_loses_nothing_before_it(make_video, which, codec):
    options = {"x265-params": "log-level=none:pools=1:keyint=8"} if codec == "libx265" else {"g": "8"}
    path = make_video(f"{codec}.mp4", count=30, codec=codec, options=options)
    whole = list(open_frames(path))
    packets = packets_of(path)
    position, size, shown_at = packets[which]
    data = bytearray(path.read_bytes())
    data[position : position + size] = b"\xff" * size
    path.write_bytes(data)

    frames, message = read_until_error(path)
    assert [frame.index for frame in frames] == list(range(len(frames)))
    # Good is every frame shown before the first of those that were coded from the damage on.
    assert len(frames) == min(shown for _, _, shown in packets[which:])
    assert f"frame {len(frames)} is broken" in message
    assert all(np.array_equal(ours.rgb, theirs.rgb) for ours, theirs in zip(frames, whole, strict=False))

    source = open_frames(path, skip_broken=True)
    rest = list(source)
    assert shown_at in source.broken
    assert sorted([frame.index for frame in rest] + source.broken) == list(range(30))
    assert [frame.index for frame in rest] == sorted({frame.index for frame in rest})
    if which < 16:  # key frames come at least every 8 frames
        assert [frame.index for frame in rest][-6:] == list(range(24, 30))
        assert all(np.array_equal(frame.rgb, whole[frame.index].rgb) for frame in rest[-6:])


def test_cut_short_file_gives_what_is_there(make_video):
    path = make_video("cut.mp4", count=30, options={"g": "8"}, container_options={"movflags": "faststart"})
    whole = list(open_frames(path))
    assert len(whole) == 30
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    frames, message = read_until_error(path)
    assert 5 < len(frames) < 30
    assert f"frame {len(frames)} is missing" in message
    assert "cut short" in message
    assert all(np.array_equal(ours.rgb, theirs.rgb) for ours, theirs in zip(frames, whole, strict=False))
    source = open_frames(path, skip_broken=True)
    rest = [frame.index for frame in source]
    assert rest[: len(frames)] == list(range(len(frames)))
    assert sorted(rest + source.broken) == list(range(30))
    sought, _ = read_rest(path, 4)
    assert sought == list(range(4, len(frames)))


def read_rest(path: Path, start: int) -> tuple[list[int], str]:
    indices = []
    with pytest.raises(VideoError) as caught:  # noqa: PT012
        for frame in open_frames(path, start=start):
            indices.append(frame.index)  # noqa: PERF401
    return indices, str(caught.value)


def test_cut_short_exactly_between_packets(make_video):
    path = make_video("cut.mp4", count=20, options={"g": "4", "bf": "0"}, container_options={"movflags": "faststart"})
    position, _, _ = packets_of(path)[12]
    path.write_bytes(path.read_bytes()[:position])
    frames, message = read_until_error(path)
    assert len(frames) == 12
    assert "frame 12 is missing" in message


@pytest.mark.parametrize(("name", "codec"), [("cut.mkv", "libx264"), ("cut.webm", "libvpx-vp9")])
def test_cut_short_matroska(make_video, name, codec):
    path = make_video(name, codec=codec, count=30)
    assert len(list(open_frames(path))) == 30
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    frames, message = read_until_error(path)
    assert 5 < len(frames) < 30
    assert f"frame {len(frames)} is missing: the file is cut short" in message
    assert len(list(open_frames(path, skip_broken=True))) >= len(frames)


def test_missing_index(make_video):
    path = make_video("no_moov.mp4")
    data = path.read_bytes()
    path.write_bytes(data[: data.index(b"moov") - 4])
    with pytest.raises(VideoError, match=r"no_moov.mp4: cannot be opened as a video .*damaged"):
        open_frames(path)


def test_no_video_in_it(tmp_path):
    missing, empty, text = tmp_path / "gone.mp4", tmp_path / "empty.mp4", tmp_path / "text.mp4"
    empty.write_bytes(b"")
    text.write_text("this is no video\n" * 50)
    with pytest.raises(VideoError, match=r"gone.mp4: no such file"):
        open_frames(missing)
    with pytest.raises(VideoError, match=r"empty.mp4: the file is empty"):
        open_frames(str(empty))
    with pytest.raises(VideoError, match=r"text.mp4: "):
        open_frames(text)


def test_title_in_an_old_encoding(make_video):
    path = make_video("old.mp4")
    data = path.read_bytes()
    assert b"Lavf" in data
    path.write_bytes(data.replace(b"Lavf", b"K\xe4fe"))  # Latin-1
    assert len(list(open_frames(path))) == 12


def test_unknown_codec(make_video):
    path = make_video("odd.mp4")
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzz1"))
    with pytest.raises(VideoError, match=r"odd\.mp4: its video codec is not known"):
        open_frames(path)


def test_audio_only(tmp_path):
    path = tmp_path / "sound.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), dtype=np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(VideoError, match=r"sound.wav: holds no video stream"):
        open_frames(path)


def test_size_that_changes_midway(tmp_path):
    first = write_video(tmp_path / "a.h264", count=4)
    second = write_video(tmp_path / "b.h264", count=4, size=(32, 64))
    path = tmp_path / "both.h264"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    frames, message = read_until_error(path)
    assert len(frames) == 4
    assert "frame 4 is 64x32" in message


def test_close_in_the_middle(make_video):
    source = open_frames(make_video())
    next(iter(source))
    source.close()
    source.close()
    assert list(source) == []


def test_negative_start(make_video):
    with pytest.raises(VideoError, match="start"):
        open_frames(make_video(), start=-1)


@pytest.mark.parametrize(("codec", "pix_fmt"), [("ffv1", "gray16le"), ("ffv1", "rgb48le")])
def test_a_video_of_twelve_bits_in_sixteen(tmp_path, caplog, codec, pix_fmt):
    """What industrial cameras write; FFmpeg alone would make it nearly black."""
    path = tmp_path / "camera.mkv"
    grey = pix_fmt.startswith("gray")
    deep = (
        np.linspace(0, 4095, 48 * 64 * (1 if grey else 3)).astype(np.uint16).reshape((48, 64) if grey else (48, 64, 3))
    )
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10)
        stream.height, stream.width, stream.pix_fmt = 48, 64, pix_fmt
        for factor in (1.0, 0.5):
            pixels = (deep * factor).astype(np.uint16)
            frame = av.VideoFrame.from_ndarray(pixels, format="gray16le" if grey else "rgb48le")
            container.mux(stream.encode(frame.reformat(format=pix_fmt)))
        container.mux(stream.encode(None))
    frames = [frame.rgb for frame in open_frames(path)]
    for rgb, factor in zip(frames, (1.0, 0.5), strict=True):
        expected = deep * factor / 4095 * 255
        assert np.abs(rgb - (expected[..., None] if grey else expected)).max() <= 1.1
    assert "of which 12 are used" in caplog.text


def test_the_cover_of_a_video_is_not_its_picture():
    """An attached picture may be the first stream."""
    kinds = av.stream.Disposition
    film = SimpleNamespace(disposition=kinds(0), codec_context=object())
    for attached in (kinds.attached_pic, kinds.attached_pic | kinds.default, kinds.timed_thumbnails):
        cover = SimpleNamespace(disposition=attached, codec_context=object())
        assert video_stream(SimpleNamespace(streams=SimpleNamespace(video=[cover, film])), "x") is film
        with pytest.raises(VideoError, match="a cover picture only"):
            video_stream(SimpleNamespace(streams=SimpleNamespace(video=[cover])), "x")


@pytest.mark.parametrize("name", ["song.mp3", "song.flac"])
def test_a_song_with_a_cover_is_no_video(tmp_path, name):
    path = tmp_path / name
    codec = "libmp3lame" if name.endswith("mp3") else "flac"
    with av.open(str(path), "w") as container:
        sound = container.add_stream(codec, rate=44100, layout="mono")
        cover = container.add_stream("png", rate=1)
        cover.height, cover.width, cover.pix_fmt = 32, 32, "rgb24"
        cover.disposition = av.stream.Disposition.attached_pic
        container.mux(cover.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")))
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.int16), format="s16p", layout="mono")
        samples.sample_rate = 44100
        container.mux(sound.encode(samples))
        for stream in (cover, sound):
            container.mux(stream.encode(None))
    with pytest.raises(VideoError, match="holds no video stream"):
        open_frames(path)


@pytest.mark.parametrize("kind", ["fifo", "device", "link to a device"])
def test_what_is_no_file_is_told_as_that(tmp_path, kind):
    path = tmp_path / "x.mp4"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path = Path("/dev/zero")
    else:
        path.symlink_to("/dev/null")
    with pytest.raises(VideoError, match="is a pipe or device"):
        open_frames(path)
