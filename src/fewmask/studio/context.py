"""What the parts of the studio share."""

from dataclasses import dataclass, field
from pathlib import Path

from fewmask.studio.frame_reader import FrameReaders
from fewmask.studio.library import Library
from fewmask.studio.runs import Runs


@dataclass
class Context:
    """One studio.

    Attributes:
        out: where the studio writes: jobs, examples, and what jobs find.
        library: what was opened.
        frames: pictures of videos.
        runs: results and their corrections.
        sam: SAM weights for masks by a click, where given.
    """

    out: Path
    library: Library = field(default_factory=Library)
    frames: FrameReaders = field(default_factory=FrameReaders)
    runs: Runs = field(default_factory=Runs)
    sam: Path | None = None
