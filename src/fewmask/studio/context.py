"""What the parts of the studio share."""

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fewmask.errors import ConfigError
from fewmask.studio.frame_reader import FrameReaders
from fewmask.studio.jobs import JobRecord, Jobs
from fewmask.studio.library import Library
from fewmask.studio.runs import Runs

if TYPE_CHECKING:
    from fewmask.studio.sam_prompt import SamPrompt


class Context:
    """One studio.

    Attributes:
        out: where the studio writes: jobs, examples, and what jobs find.
        library: what was opened.
        frames: pictures of videos.
        runs: results and their corrections.
        jobs: the queue.
        sam: SAM weights for masks by a click, where given.
    """

    def __init__(self, out: Path, *, cache: Path | None = None, sam: Path | None = None) -> None:
        """``cache`` is where the indexes of runs lie; default: the user's cache folder."""
        self.out = out
        self.library = Library()
        self.frames = FrameReaders()
        self.runs = Runs(cache)
        self.jobs = Jobs(out / "jobs")
        self.sam = sam
        self._sam_prompt: SamPrompt | None = None
        self._lock = threading.Lock()

    def sam_prompt(self) -> "SamPrompt":
        """What answers clicks and boxes, made at the first one.

        Raises:
            ConfigError: there are no weights.
        """
        from fewmask.studio.sam_prompt import SamPrompt  # torch takes its time

        if self.sam is None:
            raise ConfigError("no SAM weights; start the studio with --sam WEIGHTS")
        with self._lock:
            if self._sam_prompt is None:
                self._sam_prompt = SamPrompt(self.sam)
        return self._sam_prompt

    def opened(self, job: JobRecord) -> dict[str, Any] | None:
        """What a finished job made, taken into the library; None where it made nothing that is shown."""
        if job.made is None or not Path(job.made[1]).is_dir():
            return None
        kind, path = job.made
        thing = self.library.add(kind, Path(path))
        return {"kind": thing.kind, "id": thing.id, "title": thing.title}

    def open_results(self) -> None:
        """Take up what jobs of an earlier studio made."""
        for job in self.jobs.all():
            if self.jobs.state(job) == "finished":
                self.opened(job)
