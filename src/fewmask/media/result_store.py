"""Where results of many videos lie: a folder here, or an object store under an address (`s3://bucket/prefix`).

Addresses are those of `pyarrow.fs`, whose S3 client takes keys and end points from the usual environment variables
(`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`, ...) or from the address. An object of a store appears whole or not at all; so
do files here.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlencode, urlsplit

from fewmask.addresses import showable
from fewmask.errors import ConfigError, FewmaskError, VideoError
from fewmask.media.atomic import whole_file, write_bytes


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

    def put(self, name: str, content: bytes) -> None:
        """Write a small file to ``name``, over what is there."""
        if not is_remote(self.place):
            write_bytes(Path(self.place, name), content)
            return
        system, root = self._remote()
        try:
            with system.open_output_stream(f"{root}/{name}") as target:
                target.write(content)
        except OSError as error:
            raise self._failed(name, error) from error

    def fetch(self, name: str, folder: Path) -> Path:
        """A file as one of this machine: itself, or a copy at ``folder``/``name``.

        Raises:
            FewmaskError: there is none.
        """
        if not is_remote(self.place):
            path = Path(self.place, name)
            if not path.is_file():
                raise FewmaskError(f"{path}: no such file; remove the folder of its markers and run it again")
            return path
        system, root = self._remote()
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with system.open_input_stream(f"{root}/{name}") as handle, target.open("wb") as copy:
                shutil.copyfileobj(handle, copy, 2**20)
        except OSError as error:
            raise self._failed(name, error) from error
        return target

    def names(self, folder: str) -> list[str]:
        """Names of all files in and below ``folder``, sorted; none where it is not there."""
        if not is_remote(self.place):
            root = Path(self.place)
            return sorted(path.relative_to(root).as_posix() for path in (root / folder).rglob("*") if path.is_file())
        from pyarrow import fs

        system, place = self._remote()
        try:
            wanted = fs.FileSelector(f"{place}/{folder}".rstrip("/"), recursive=True, allow_not_found=True)
            found = system.get_file_info(wanted)
        except OSError as error:
            raise self._failed(folder, error) from error
        return sorted(entry.path.removeprefix(f"{place}/") for entry in found if entry.is_file)

    def _remote(self) -> tuple[Any, str]:
        return _open(self.place)

    def _failed(self, name: str, error: OSError) -> FewmaskError:
        return FewmaskError(f"{showable(self.place)}: {name}: {str(error).splitlines()[0]}")


def fetched(source: str, folder: Path) -> Path:
    """A video of a store as a file in ``folder``; one of this machine stays where it is.

    Raises:
        VideoError: it cannot be read.
    """
    if not is_remote(source):
        return Path(source)
    system, path = _open(source)
    local = folder / f"source{Path(path).suffix}"
    try:
        with system.open_input_stream(path) as handle, local.open("wb") as target:
            shutil.copyfileobj(handle, target, 2**20)
    except OSError as error:
        raise VideoError(f"{showable(source)}: {str(error).splitlines()[0]}") from error
    return local


@contextmanager
def opened_source(source: str) -> Iterator[BinaryIO]:
    """A video as a file to read and seek in, without fetching what is not read.

    Raises:
        VideoError: it cannot be opened.
    """
    try:
        if not is_remote(source):
            with Path(source).open("rb") as handle:
                yield handle
            return
        system, path = _open(source)
        with system.open_input_file(path) as stored:
            yield stored
    except OSError as error:
        raise VideoError(f"{showable(source)}: {str(error).splitlines()[0]}") from error


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
