"""An object store on this machine, where there is a server for one."""

import os
import shutil
import socket
import subprocess
import time

import pytest

MOTO = shutil.which(os.environ.get("FEWMASK_S3_SERVER", "moto_server"))


@pytest.fixture
def s3(monkeypatch):
    """The file system of an object store with a bucket "videos"; s3:// addresses lead there."""
    if MOTO is None:
        pytest.skip("needs moto_server, on the path or named by FEWMASK_S3_SERVER")
    fs = pytest.importorskip("pyarrow.fs")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [MOTO, "-H", "127.0.0.1", "-p", str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true", "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    try:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        store = fs.S3FileSystem(endpoint_override=f"127.0.0.1:{port}", scheme="http", allow_bucket_creation=True)
        store.create_dir("videos")
        yield store
    finally:
        server.kill()
        server.wait()
