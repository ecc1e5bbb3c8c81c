"""A password and a token in an address are nowhere in what any verb writes or says, whatever becomes of the address."""

import os
import sys
import threading
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from moving_squares import write_video

from fewmask.cli import main as command
from fewmask.media.spool import ResultSpool
from fewmask.minvis.architecture import Architecture, build
from fewmask.minvis.pretrained import save_small

PASSWORD, TOKEN = "PASSWORDtopsecret", "TOKENtopsecret"
TINY = Architecture(
    "timm:mobilenetv3_small_050", queries=6, width=32, encoder_layers=1, decoder_layers=1, feedforward=32
)


class Serves(BaseHTTPRequestHandler):
    """One file, by whatever query, or 404."""

    video = b""

    def do_GET(self):
        found = self.path.startswith("/clip.mp4")
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(self.video) if found else 0))
        self.send_header("Accept-Ranges", "none")
        self.end_headers()
        if found:
            self.wfile.write(self.video)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    Serves.video = write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", 5).read_bytes()
    with ThreadingHTTPServer(("127.0.0.1", 0), Serves) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://someone:{PASSWORD}@127.0.0.1:{running.server_port}"
        running.shutdown()


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    save_small(build(TINY), TINY, folder, categories=["object"], short_side=64)
    return folder


@pytest.fixture
def run(monkeypatch, capfd):
    """A verb through the real entry point; gives the exit code and all it said."""

    def go(*words):
        monkeypatch.setattr(sys, "argv", ["fewmask", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            command.main()
        said = capfd.readouterr()
        return ended.value.code, said.out + said.err

    return go


def secrets_in(folder: Path) -> list[str]:
    """Files, and names of files, that hold one of the secrets, packed ones unpacked."""
    told = []
    for path in folder.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            if path.suffix == ".spool":
                with ResultSpool(path) as spool:
                    data = repr(list(spool.records())).encode()
            if data.startswith(b"x"):
                data += zlib.decompress(data)
            told += [str(path) for secret in (PASSWORD, TOKEN) if secret.encode() in data]
        told += [str(path) for secret in (PASSWORD, TOKEN) if secret in path.name]
    return told


def check(folder, said):
    assert PASSWORD not in said
    assert TOKEN not in said
    assert secrets_in(folder) == []


def test_segment_and_what_goes_on_with_it(run, server, weights, tmp_path):
    address = f"{server}/clip.mp4?token={TOKEN}.a/b&n=1"
    out = tmp_path / "out"
    words = ["segment", address, "--out", out, "--weights", weights, "--min-score", "0", "--device", "cpu"]
    for export in ("cvat", "label-studio", "coco"):
        words += ["--export", export]
    code, said = run(*words)
    assert code == 0, said
    check(tmp_path, said)
    assert "/clip.mp4?token=***&n=***" in (out / "manifest.json").read_text()
    for changed, wanted in ((words, 0), (["segment", f"{address}2", *words[2:]], 2)):
        code, said = run(*changed, "--resume")
        assert code == wanted, said
        check(tmp_path, said)
    assert "the input source http://127.0.0.1" in said
    code, said = run("export", out, "--format", "cvat", "--format", "label-studio", "--out", tmp_path / "more")
    check(tmp_path, said)


def test_mine(run, server, weights, tmp_path):
    addresses = [f"{server}/clip.mp4?token={TOKEN}.a/b", f"{server}/none.mp4?token={TOKEN}"]
    words = ["mine", *addresses, "--out", tmp_path / "out", "--weights", weights, "-n", 2, "-k", 2, "--workers", 1]
    code, said = run(*words, "--device", "cpu")
    assert code == 0, said
    assert "none: skipped: http://127.0.0.1" in said
    check(tmp_path, said)
    code, said = run(*words, "--device", "cpu", "--resume", "--json")
    assert code == 0, said
    check(tmp_path, said)


ADDRESSES = [
    f"http://someone:{PASSWORD}@127.0.0.1:1/clip.mp4?token={TOKEN}",
    f"rtsp://someone:{PASSWORD}@[::1?token={TOKEN}",
    f"gopher://someone:{PASSWORD}@host/clip.mp4?token={TOKEN}",
    f"http:/someone:{PASSWORD}@host/clip.mp4?token={TOKEN}",
    f"rtsp://someone:{PASSWORD}/{PASSWORD}@127.0.0.1:1/x?{TOKEN}",
]
VERBS = [
    ["segment", "ADDRESS", "--out", "OUT"],
    ["segment", "ADDRESS", "--out", "OUT", "--support", "ADDRESS"],
    ["segment", "ADDRESS", "--out", "OUT", "--support-video", "ADDRESS", "-k", "1"],
    ["segment", "ADDRESS", "--out", "OUT", "--pool", "ADDRESS"],
    ["segment", "ADDRESS", "--out", "OUT", "--weights", "ADDRESS"],
    ["index", "ADDRESS", "--out", "OUT", "--encoder", "fixed"],
    ["retrieve", "ADDRESS", "--index", "OUT"],
    ["mine", "ADDRESS", "--out", "OUT", "--workers", "1", "--weights", "WEIGHTS"],
    ["train", "minvis", "ADDRESS", "--data", "ADDRESS", "--out", "OUT"],
    ["train", "clip-encoder", "RECIPE", "ADDRESS", "--out", "OUT"],
    ["eval", "ytvis", "--gt", "ADDRESS", "--pred", "ADDRESS"],
    ["synth", "--from", "ADDRESS", "--out", "OUT", "--videos", "1"],
    ["convert", "minvis", "ADDRESS", "--out", "OUT"],
    ["convert-data", "ADDRESS", "OUT"],
    ["export", "ADDRESS", "--format", "coco"],
]


@pytest.mark.parametrize("words", VERBS, ids=" ".join)
def test_addresses_that_lead_nowhere(run, weights, tmp_path, words, monkeypatch):
    """Every verb, also where it takes no address: it says so, without what is secret."""
    monkeypatch.setattr("fewmask.media.live.OPEN_TIMEOUT_S", 2.0)
    monkeypatch.setitem(os.environ, "HF_HUB_OFFLINE", "1")
    recipe = Path(__file__).parents[2] / "recipes" / "selfshot" / "clip_encoder_small.toml"
    for number, address in enumerate(ADDRESSES):
        known = {"ADDRESS": address, "OUT": tmp_path / str(number), "WEIGHTS": weights, "RECIPE": recipe}
        code, said = run(*[known.get(word, word) for word in words])
        assert code in (0, 2), said  # mine goes on without what cannot be read
        assert "Traceback" not in said
        check(tmp_path, said)
