"""What a run will cost, said before it starts: frames, disk, and hours by what a few frames take on this machine."""

import time
from dataclasses import dataclass

from fewmask.errors import VideoError
from fewmask.media.frames import open_frames
from fewmask.pipelines.grow.request import GrowRequest
from fewmask.pipelines.mine import MinvisProposals

PICTURE_BYTES = 45_000
"""Of a JPEG of the dataset at 360p; larger frames take more in proportion."""
RECORD_BYTES = 4_000
"""Of the masks of a frame, in results and search files."""
MINED, SEARCHED = 2.5, 2.0
"""Times the segmenter's own time that mining and searching take per frame, as measured with the bundled networks."""
STEP_SECONDS = 25.0
"""Times the segmenter's time per frame that one training step takes."""
_TRIED = 3


@dataclass(frozen=True)
class Estimate:
    """Of a whole run.

    Attributes:
        frames: that are looked at once; 0 = no video says how long it is.
        seconds: of one machine, all rounds.
        megabytes: on the disk at the end.
    """

    frames: int
    seconds: float
    megabytes: float

    def __str__(self) -> str:
        if not self.frames:
            return "how long this takes cannot be said: no video says how long it is"
        hours = f"{self.seconds / 3600:.1f} hours" if self.seconds > 5400 else f"{self.seconds / 60:.0f} minutes"
        return f"{self.frames} frames to look at: about {hours} and {self.megabytes:.0f} MB (an estimate)"


def estimate(request: GrowRequest) -> Estimate:
    """Count frames and time the segmenter on a few of them; videos that cannot be opened count nothing."""
    frames, pixels, seconds_each = 0, 0.0, 0.0
    proposer: MinvisProposals | None = None
    for video in request.videos:
        try:
            with open_frames(video, skip_broken=True) as source:
                count = (source.estimated_length or 0) // request.frame_step
                frames += count
                pixels += count * source.size[0] * source.size[1]
                if proposer is None:
                    proposer = MinvisProposals(request.weights, "cpu" if request.device == "auto" else request.device)
                    tried = [frame.rgb for _, frame in zip(range(_TRIED + 1), source, strict=False)]
                    proposer.propose(tried[0])
                    started = time.monotonic()
                    for rgb in tried[1:]:
                        proposer.propose(rgb)
                    seconds_each = (time.monotonic() - started) / max(1, len(tried) - 1)
        except (VideoError, IndexError):
            continue
    searches = request.rounds * SEARCHED
    teach = 0.0 if "teach" in request.skip else request.rounds * request.steps * STEP_SECONDS
    seconds = seconds_each * (frames * (MINED + searches) + teach)
    scale = pixels / max(1, frames) / (360 * 640)
    kept = frames / request.keep_every * (1 + 0.3 * request.rounds)
    disk = kept * PICTURE_BYTES * scale + frames * RECORD_BYTES * (1 + request.rounds)
    return Estimate(frames, seconds, disk / 1e6)
