"""The smallest RTSP server that plays an H.264 elementary stream once, over TCP (RFC 2326, RFC 6184)."""

import re
import socket
import struct
import threading
import time
from pathlib import Path


class RtspServer:
    """Serves one client at ``address``; ``lose_after`` frames the connection is cut in the middle of a packet."""

    def __init__(self, path: Path, *, lose_after: int | None = None) -> None:
        self._units = [unit for unit in re.split(rb"\x00\x00\x00?\x01", path.read_bytes()) if unit]
        self._lose_after = lose_after
        self._server = socket.create_server(("127.0.0.1", 0))
        self.address = f"rtsp://user:secret@127.0.0.1:{self._server.getsockname()[1]}/lab/cage4"
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._server.close()

    def _serve(self) -> None:
        connection, _ = self._server.accept()
        with connection, connection.makefile("rb") as requests:
            while (method := self._answer(connection, requests)) not in ("PLAY", "TEARDOWN"):
                pass
            if method == "PLAY":
                self._play(connection)

    def _answer(self, connection: socket.socket, requests) -> str:  # type: ignore[no-untyped-def]
        lines = []
        while (line := requests.readline().decode().strip()) or not lines:
            lines.append(line)
        method = lines[0].split()[0]
        sequence = next(line.split(":")[1].strip() for line in lines if line.lower().startswith("cseq"))
        head, body = "", ""
        if method == "OPTIONS":
            head = "Public: OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN\r\n"
        elif method == "DESCRIBE":
            body = (
                "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=test\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n"
                "a=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\na=control:video\r\n"
            )
            head = f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n"
        elif method == "SETUP":
            head = "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\nSession: 1\r\n"
        elif method == "PLAY":
            head = "Session: 1\r\nRange: npt=0-\r\n"
        connection.sendall(f"RTSP/1.0 200 OK\r\nCSeq: {sequence}\r\n{head}\r\n{body}".encode())
        return method

    def _play(self, connection: socket.socket) -> None:
        shown = 0
        for number, unit in enumerate(self._units):
            is_picture = unit[0] & 31 in (1, 5)
            header = struct.pack(">BBHII", 0x80, 96 | (0x80 if is_picture else 0), number, 9000 * shown, 1)
            packet = b"$\0" + struct.pack(">H", len(header) + len(unit)) + header + unit
            if shown == self._lose_after and is_picture:
                # Linger 0 makes the close a reset, as when a camera loses its power.
                connection.sendall(packet[: len(packet) // 2])
                time.sleep(0.5)  # a reset also takes away what was sent and not yet read
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return
            connection.sendall(packet)
            time.sleep(0.01 if self._lose_after else 0)
            shown += is_picture
