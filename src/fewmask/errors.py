"""The errors a user can cause. Each message is one line: what, where, and what to do."""


class FewmaskError(Exception):
    """Anything wrong with what the user gave; the command line prints it and exits with code 2."""


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
