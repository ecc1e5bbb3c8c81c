"""A video of an object store as frames: fetched into a temporary file, which goes when the source is closed."""

import tempfile
from pathlib import Path

from fewmask.addresses import address_name, showable
from fewmask.media.result_store import fetched
from fewmask.media.video_file import VideoFile

SCHEMES = ("s3://", "gs://", "gcs://", "hdfs://", "abfs://", "abfss://")
"""Addresses that `pyarrow.fs` opens; any other is FFmpeg's."""


def is_stored(address: str) -> bool:
    """Whether an address is one of an object store."""
    return address.startswith(SCHEMES)


class StoredVideo(VideoFile):
    """See `fewmask.media.frames.open_frames`."""

    def __init__(self, address: str, *, start: int = 0, skip_broken: bool = False) -> None:
        """Fetch and open it.

        Raises:
            VideoError: it is not there or no video.
            ConfigError: the extra scale is not installed.
        """
        self._folder = tempfile.TemporaryDirectory(prefix="fewmask-")
        try:
            local = fetched(address, Path(self._folder.name))
            super().__init__(
                f"file:{local}", showable(address), address_name(address), start=start, skip_broken=skip_broken
            )
        except BaseException:
            self._folder.cleanup()
            raise
        self._path = local  # a file that can be asked whether it was cut short

    def close(self) -> None:
        """Release the file and remove it; closing twice is allowed."""
        super().close()
        self._folder.cleanup()
