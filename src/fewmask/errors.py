"""The errors a user can cause. Each message is one line: what, where, and what to do."""

import re

from fewmask.addresses import showable_text

# Control characters and what else ends a line somewhere; names and values from files may hold any of them.
_BREAKS = re.compile(r"[ \t]*[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]+[ \t]*")
_MOST = 1500


class FewmaskError(Exception):
    """Anything wrong with what the user gave; the command line prints it and exits with code 2.

    Whatever goes into the message, it is one line of at most 1,500 characters, without the secrets of addresses in it.
    """

    def __init__(self, message: object = "") -> None:
        line = showable_text(_BREAKS.sub(" ", str(message)).strip())
        super().__init__(line if len(line) <= _MOST else f"{line[:1000]} ... {line[1005 - _MOST :]}")


class VideoError(FewmaskError):
    """A video, image folder or camera that cannot be read, or an output that cannot be written."""


class DatasetError(FewmaskError):
    """A dataset, annotation or result file that is malformed; names the file and the key or id."""


class CheckpointError(FewmaskError):
    """Weights that are missing, of another architecture, or unsafe to load."""


class ConfigError(FewmaskError):
    """A setting, or a combination of settings, that cannot work."""


class InUseError(FewmaskError):
    """A folder that another process is writing; the message says which and since when."""
