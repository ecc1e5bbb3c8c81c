"""A corrected run where a dataset is asked for: `train --data RUN` goes on from what a person put right."""

from pathlib import Path

from fewmask.corrections.corrected_run import CorrectedRun, is_run
from fewmask.corrections.export import export_corrected
from fewmask.errors import ConfigError


def annotations_of(data: Path) -> Path:
    """``data`` itself, or for a run's folder its corrected frames, written as a dataset below it.

    Raises:
        ConfigError: a run in which no frame was fixed or confirmed; what a network found is no truth to learn from.
        FewmaskError: results, journal or source cannot be read.
    """
    if not data.is_dir() or not is_run(data):
        return data
    run = CorrectedRun.open(data)
    if not run.checked_frames():
        raise ConfigError(
            f"{data}: no frame of this run was corrected or confirmed yet; do so in `fewmask studio {data}`"
        )
    return export_corrected(run, "dataset")
