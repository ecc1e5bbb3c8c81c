"""Where results of many videos lie: a folder here, or an object store under an address (`s3://bucket/prefix`).

Addresses are those of `pyarrow.fs`, whose S3 client takes keys and end points from the usual environment variables
(`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`, ...) or from the address. An object of a store appears whole or not at all; so
do files here.
"""

import os
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from fewmask.addresses import showable
from fewmask.errors import ConfigError, FewmaskError
from fewmask.media.atomic import whole_file


def is_remote(place: str) -> bool:
    """Whether ``place`` is an address, no path of this machine."""
    return "://" in place


class ResultStore:
    """Files by name, with slashes, below ``place``; picklable.

    Raises:
        ConfigError: an address of no known kind, or pyarrow is not installed; when it is first used.
    """

    def __init__(self, place: str) -> None:
        self.place = place.rstrip("/")

    def read(self, name: str) -> bytes | None:
        """The bytes of a file, None where there is none."""
        if not is_remote(self.place):
            path = Path(self.place, name)
            return path.read_bytes() if path.is_file() else None
        system, root = self._remote()
        try:
            with system.open_input_stream(f"{root}/{name}") as handle:
                found: bytes = handle.read()
                return found
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._failed(name, error) from error

    def write(self, name: str, file: Path) -> None:
        """Copy a file of this machine to ``name``, over what is there."""
        if not is_remote(self.place):
            with whole_file(Path(self.place, name)) as temporary:
                shutil.copyfile(file, temporary)
            return
        system, root = self._remote()
        try:
            with file.open("rb") as source, system.open_output_stream(f"{root}/{name}") as target:
                shutil.copyfileobj(source, target, 2**20)
        except OSError as error:
            raise self._failed(name, error) from error

    def _remote(self) -> tuple[Any, str]:
        return _open(self.place)

    def _failed(self, name: str, error: OSError) -> FewmaskError:
        return FewmaskError(f"{showable(self.place)}: {name}: {str(error).splitlines()[0]}")


def fetched(source: str, folder: Path) -> Path:
    """A video of a store as a file in ``folder``; one of this machine stays where it is.

    Raises:
        FewmaskError: it cannot be read.
    """
    if not is_remote(source):
        return Path(source)
    system, path = _open(source)
    local = folder / f"source{Path(path).suffix}"
    try:
        with system.open_input_stream(path) as handle, local.open("wb") as target:
            shutil.copyfileobj(handle, target, 2**20)
    except OSError as error:
        raise FewmaskError(f"{showable(source)}: {str(error).splitlines()[0]}") from error
    return local


def _open(address: str) -> tuple[Any, str]:
    try:
        from pyarrow import fs
    except ImportError as error:
        raise ConfigError(f"{showable(address)}: needs pyarrow: pip install 'fewmask[scale]'") from error
    try:
        system, root = fs.FileSystem.from_uri(_with_end_point(address))
    except (ValueError, OSError, NotImplementedError) as error:
        raise ConfigError(f"{showable(address)}: {str(error).splitlines()[0]}; give a folder, or s3://...") from error
    return system, root


def _with_end_point(address: str) -> str:
    """An S3 address with the end point of the environment, which pyarrow does not look for there."""
    given = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if not given or not address.startswith("s3://") or "endpoint_override=" in address:
        return address
    parts = urlsplit(given)
    place = urlencode({"scheme": parts.scheme, "endpoint_override": parts.netloc})
    return f"{address}{'&' if '?' in address else '?'}{place}"
