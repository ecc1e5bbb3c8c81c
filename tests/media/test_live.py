import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fewmask.errors import VideoError
from fewmask.media import live
from fewmask.media.frames import open_frames

from .conftest import picture
from .rtsp_server import RtspServer


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass


class MotionJpeg(BaseHTTPRequestHandler):
    """Five pictures as a camera sends them, then the connection ends."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        self.end_headers()
        for index in range(5):
            jpeg = cv2.imencode(".jpg", picture(index)[:, :, ::-1])[1].tobytes()
            head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
            with suppress(ConnectionError):  # the client may have left
                self.wfile.write(head.encode() + jpeg + b"\r\n")

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def serve() -> Iterator[Any]:
    servers = []

    def start(handler: Any) -> str:
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://user:secret@127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_file_over_http(make_video, serve):
    path: Path = make_video("remote.mp4", container_options={"movflags": "faststart"}, options={"g": "4"})
    address = serve(partial(Quiet, directory=str(path.parent))) + "/remote.mp4"
    here = list(open_frames(path))
    with open_frames(address) as source:
        assert (source.name, source.size, source.is_live, source.length) == ("remote", (48, 64), False, 12)
        frames = list(source)
    assert all(np.array_equal(ours.rgb, theirs.rgb) for ours, theirs in zip(frames, here, strict=True))
    assert [frame.index for frame in open_frames(address, start=9)] == [9, 10, 11]


def test_live_camera_over_http(serve):
    address = serve(MotionJpeg) + "/camera"
    with open_frames(address) as source:
        assert (source.is_live, source.length, source.estimated_length) == (True, None, None)
        assert source.size == (48, 64)
        frames = []
        with pytest.raises(VideoError, match="/camera: the connection was lost before frame 5") as caught:  # noqa: PT012
            for frame in source:
                frames.append(frame)  # noqa: PERF402
    assert "secret" not in str(caught.value)
    assert [frame.index for frame in frames] == list(range(5))
    assert np.abs(frames[2].rgb.astype(int) - picture(2)).mean() < 8
    with pytest.raises(VideoError, match="cannot start at frame 3"):
        open_frames(address, start=3)


def test_stream_over_tcp(make_video):
    """A transport stream as it comes from an encoder, joined between key frames."""
    path = make_video("sent.ts", count=40, options={"g": "10", "bf": "0"})
    whole = [frame.rgb for frame in open_frames(path)]
    data = path.read_bytes()
    joined = next(at for at in range(188 * 12, len(data), 188))
    with socket.create_server(("127.0.0.1", 0)) as server:

        def send() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(data[:564] + data[joined:])

        thread = threading.Thread(target=send, daemon=True)
        thread.start()
        with open_frames(f"tcp://127.0.0.1:{server.getsockname()[1]}") as source:
            assert (source.is_live, source.size) == (True, (48, 64))
            frames = list(source)
        thread.join()
    assert [frame.index for frame in frames if frame.index not in source.broken] == [frame.index for frame in frames]
    assert 20 < len(frames) < 40
    assert np.array_equal(frames[-1].rgb, whole[-1])
    assert frames[0].time_s == 0
    assert frames[-1].time_s == pytest.approx((len(frames) - 1) / 10, abs=0.11)


@pytest.mark.parametrize("lose_after", [None, 25])
def test_rtsp_camera(make_video, lose_after):
    path = make_video("sent.h264", count=40, options={"g": "10", "bf": "0", "x264-params": "slices=1"})
    whole = [frame.rgb for frame in open_frames(path)]
    server = RtspServer(path, lose_after=lose_after)
    frames = []
    message = ""
    try:
        with open_frames(server.address) as source:
            assert (source.name, source.size, source.is_live, source.length) == ("cage4", (48, 64), True, None)
            for frame in source:
                frames.append(frame)  # noqa: PERF402
    except VideoError as error:
        message = str(error)
    finally:
        server.close()
    assert "secret" not in message
    assert len(frames) == (lose_after or 40)
    assert all(np.array_equal(frame.rgb, whole[frame.index]) for frame in frames)
    assert f"/lab/cage4: the connection was lost before frame {len(frames)} (the stream ended)" in message


def test_addresses_that_do_not_answer(serve, monkeypatch, tmp_path):
    monkeypatch.setattr(live, "OPEN_TIMEOUT_S", 2.0)
    address = serve(partial(Quiet, directory=str(tmp_path))) + "/missing.mp4"
    with pytest.raises(VideoError, match=r"missing\.mp4: cannot be opened") as caught:
        open_frames(address)
    assert "secret" not in str(caught.value)
    with pytest.raises(VideoError, match=r"rtsp://127\.0\.0\.1:9/stream: cannot be opened"):
        open_frames("rtsp://user:secret@127.0.0.1:9/stream")
    with pytest.raises(VideoError, match="gopher:// are not read"):
        open_frames("gopher://example/x")


def test_unknown_camera():
    with pytest.raises(VideoError, match="camera 97: there is no /dev/video97; cameras here: "):
        open_frames(97)
