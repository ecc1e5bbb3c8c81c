"""The one training loop: steps, schedule, precision, processes, averaged weights, checkpoints, resume, logs.

A room gives a `TrainTask`; the loop owns everything else. Sample ``i`` of step ``s`` has the number
``s * batch_size + i`` and every random choice derives from that number, so a run that was killed and resumed, or
that is spread over processes, sees exactly the samples of an uninterrupted single-process run.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from fewmask.errors import ConfigError
from fewmask.media.atomic import write_json
from fewmask.training.checkpoint import load_checkpoint, save_checkpoint
from fewmask.training.log import TrainingLog
from fewmask.training.settings import TrainSettings, rate_factor


class TrainTask(Protocol):
    """What a room tells the loop about one model."""

    @property
    def network(self) -> nn.Module:
        """What is trained."""
        ...

    def parameter_groups(self, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        """Groups for AdamW; each has its own ``lr`` (which the schedule multiplies) and ``weight_decay``."""
        ...

    def sample(self, number: int) -> Any:
        """Training sample ``number`` >= 0, a pure function of the number."""
        ...

    def collate(self, samples: Sequence[Any]) -> Any:
        """Samples as the batch that `loss` takes, on the CPU."""
        ...

    def loss(self, batch: Any, device: torch.device) -> dict[str, Tensor]:
        """Scalar losses; ``total`` is minimised. A mean over the batch, whose size may be a share of batch_size."""
        ...

    def validate(self) -> dict[str, float]:
        """Figures of the present weights on held-out data; empty where there is none."""
        ...

    def save(self, folder: Path) -> None:
        """Write the present weights for users, as `from_pretrained` reads them."""
        ...


@dataclass
class StepReport:
    """One line of the log: mean losses since the last line, rate and speed."""

    step: int
    steps: int
    losses: dict[str, float]
    learning_rate: float
    seconds_per_step: float
    eta_seconds: float
    figures: dict[str, float] = field(default_factory=dict)


def train(
    task: TrainTask,
    settings: TrainSettings,
    out: Path,
    *,
    device: torch.device,
    resume: bool = False,
    report: Callable[[StepReport], None] = lambda _: None,
) -> dict[str, float]:
    """Run the training into the folder ``out`` and return the last validation's figures.

    Files: ``checkpoint.pt`` (latest state), ``log.csv``, ``tensorboard/`` if the settings ask for it, ``weights/``
    (for users, from the averaged weights where there are any), ``figures.json``.

    Raises:
        ConfigError: the loss is no longer finite, the batch cannot be split over the processes, fp16 on a CPU, or
            TensorBoard is wanted and not installed.
        CheckpointError: ``resume`` and the checkpoint is damaged or of another network.
    """
    run = _Run(task, settings, out, device, report)
    if resume and (out / "checkpoint.pt").exists():  # a run killed before its first one starts again
        run.restore()
    return run.finish() if run.step >= settings.steps else run.go()


class _Run:
    """State of one run; lives on every process, writes on the first."""

    def __init__(
        self,
        task: TrainTask,
        settings: TrainSettings,
        out: Path,
        device: torch.device,
        report: Callable[[StepReport], None],
    ) -> None:
        distributed = dist.is_available() and dist.is_initialized()
        self.rank = dist.get_rank() if distributed else 0
        self.world = dist.get_world_size() if distributed else 1
        if settings.batch_size % (self.world * settings.accumulate):
            raise ConfigError(
                f"batch_size {settings.batch_size} cannot be split over {self.world} processes "
                f"x {settings.accumulate} accumulation steps; make it a multiple"
            )
        if settings.precision == "fp16" and device.type == "cpu":
            raise ConfigError("precision fp16 is for GPUs; use bf16 or fp32 on a CPU")
        self.task, self.settings, self.out, self.device, self.report = task, settings, out, device, report
        self.step = 0
        self.log = TrainingLog(out, tensorboard=settings.tensorboard) if self.rank == 0 else None
        task.network.to(device).train()
        self.optimizer = torch.optim.AdamW(task.parameter_groups(settings.learning_rate, settings.weight_decay))
        self.base_rates = [group["lr"] for group in self.optimizer.param_groups]
        self.scaler = torch.amp.GradScaler(device.type, enabled=settings.precision == "fp16")
        self.average = {k: v.detach().clone() for k, v in task.network.state_dict().items()} if settings.ema else None
        objective = _Objective(task, settings.precision, device)
        self.objective: nn.Module = DistributedDataParallel(objective) if distributed else objective

    def go(self) -> dict[str, float]:
        s = self.settings
        if self.log is not None:
            self.log.start(self.step)
        sums: dict[str, float] = {}
        lines, started, since = 0, time.monotonic(), self.step
        first = self.step
        batches = self._batches()
        while self.step < s.steps:
            losses = self._advance(batches)
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + value
            lines += 1
            if self.step % s.log_every == 0 or self.step == s.steps:
                pace = (time.monotonic() - started) / (self.step - since)
                line = StepReport(
                    self.step, s.steps, {k: v / lines for k, v in sums.items()},
                    self.optimizer.param_groups[0]["lr"], pace, pace * (s.steps - self.step),
                )  # fmt: skip
                self._log(line)
                sums, lines, started, since = {}, 0, time.monotonic(), self.step
            if self.step % s.checkpoint_every == 0 and self.step < s.steps:
                self._save()
            if s.validate_every and self.step % s.validate_every == 0 and self.step < s.steps:
                self._log(StepReport(self.step, s.steps, {}, 0.0, 0.0, 0.0, self._validate()))
                started, since = time.monotonic(), self.step
        if self.step > first:
            self._save()
        return self.finish()

    def finish(self) -> dict[str, float]:
        figures = self._validate()
        if self.rank == 0:
            with self._averaged():
                self.task.save(self.out / "weights")
            write_json(self.out / "figures.json", figures, indent=2)
        if self.log is not None:
            self.log.close(self.step, figures)
        return figures

    def restore(self) -> None:
        path = self.out / "checkpoint.pt"
        state = load_checkpoint(path)
        try:
            self.task.network.load_state_dict(state["network"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.scaler.load_state_dict(state["scaler"])
            if self.average is not None:
                self.average = {k: state["average"][k].to(self.device) for k in self.average}
        except Exception as error:  # a state of another shape fails in as many ways as torch has
            raise ConfigError(
                f"{self.out}: the checkpoint is of another network; resume with its own recipe"
            ) from error
        self.step = int(state["step"])

    def _advance(self, batches: Iterator[Any]) -> dict[str, float]:
        """One optimiser step; mean losses of its forward passes."""
        s = self.settings
        # Dropout and stochastic depth draw from torch's own generator: seeded here, they survive a restart.
        torch.manual_seed((s.seed * s.steps + self.step) * self.world + self.rank)
        factor = rate_factor(s, self.step)
        for group, rate in zip(self.optimizer.param_groups, self.base_rates, strict=True):
            group["lr"] = rate * factor
        sums: dict[str, float] = {}
        for _ in range(s.accumulate):
            losses = self.objective(next(batches))
            self.scaler.scale(losses["total"] / s.accumulate).backward()
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + float(value.detach()) / s.accumulate
        sums = self._mean_over_processes(sums)
        if not all(map(math.isfinite, sums.values())):
            raise ConfigError(
                f"the loss is not finite at step {self.step}; lower learning_rate or use precision fp32 and resume"
            )
        self.scaler.unscale_(self.optimizer)
        if s.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.task.network.parameters(), s.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self._update_average()
        return sums

    def _mean_over_processes(self, losses: dict[str, float]) -> dict[str, float]:
        """Losses of the whole batch: every process has seen its share only."""
        if self.world == 1:
            return losses
        values = torch.tensor(list(losses.values()), dtype=torch.float64, device=self.device)
        dist.all_reduce(values)
        return dict(zip(losses, (values / self.world).tolist(), strict=True))

    @torch.no_grad()
    def _update_average(self) -> None:
        if self.average is None or self.settings.ema is None:
            return
        # Early averages would be mostly the random start: let the decay grow with the step.
        decay = min(self.settings.ema, (1 + self.step) / (10 + self.step))
        for name, value in self.task.network.state_dict().items():
            if value.is_floating_point():
                self.average[name].lerp_(value, 1 - decay)
            else:
                self.average[name].copy_(value)

    def _batches(self) -> Iterator[Any]:
        """This process's share of every batch from the present step on, in forward-pass-sized pieces."""
        s = self.settings
        share = s.batch_size // (self.world * s.accumulate)
        numbers = [
            [step * s.batch_size + (piece * self.world + self.rank) * share + i for i in range(share)]
            for step in range(self.step, s.steps)
            for piece in range(s.accumulate)
        ]
        loader = torch.utils.data.DataLoader(
            _Samples(self.task), batch_sampler=numbers, num_workers=s.workers, collate_fn=self.task.collate,
            persistent_workers=False,
        )  # fmt: skip
        return iter(loader)

    def _validate(self) -> dict[str, float]:
        self.task.network.eval()
        with self._averaged():
            figures = self.task.validate() if self.rank == 0 else {}
        self.task.network.train()
        return figures

    def _averaged(self) -> "_Swapped":
        return _Swapped(self.task.network, self.average)

    def _save(self) -> None:
        if self.rank:
            return
        state: dict[str, Any] = {
            "step": self.step,
            "network": self.task.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }
        if self.average is not None:
            state["average"] = self.average
        save_checkpoint(self.out / "checkpoint.pt", state)

    def _log(self, line: StepReport) -> None:
        if self.log is not None:
            self.report(line)
            self.log.add(
                line.step, line.losses, line.figures, rate=line.learning_rate, seconds_per_step=line.seconds_per_step
            )


class _Objective(nn.Module):
    """The loss as a module, so that DistributedDataParallel sees every parameter's gradient."""

    def __init__(self, task: TrainTask, precision: str, device: torch.device) -> None:
        super().__init__()
        self.network = task.network
        self._task, self._device = task, device
        self._dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]

    def forward(self, batch: Any) -> dict[str, Tensor]:
        with torch.autocast(self._device.type, self._dtype, enabled=self._dtype != torch.float32):
            return self._task.loss(batch, self._device)


class _Samples(torch.utils.data.Dataset[Any]):
    """Sample number -> sample, for data workers."""

    def __init__(self, task: TrainTask) -> None:
        self._sample = task.sample

    def __getitem__(self, number: int) -> Any:
        return self._sample(number)


class _Swapped:
    """Inside the block the network holds the averaged weights, afterwards its own again."""

    def __init__(self, network: nn.Module, average: dict[str, Tensor] | None) -> None:
        self._network, self._average = network, average

    def __enter__(self) -> None:
        if self._average is not None:
            self._own = {k: v.detach().clone() for k, v in self._network.state_dict().items()}
            self._network.load_state_dict(self._average)

    def __exit__(self, *_: object) -> None:
        if self._average is not None:
            self._network.load_state_dict(self._own)
