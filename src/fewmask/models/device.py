"""Where and in which precision a network runs: the one place that resolves "auto"."""

import logging
from typing import Literal, TypeAlias, get_args

import torch

from fewmask.errors import ConfigError

_log = logging.getLogger("fewmask")

Precision: TypeAlias = Literal["auto", "fp32", "bf16", "fp16"]


def resolve_device(name: str) -> torch.device:
    """A usable device: ``auto`` (CUDA, then Apple's MPS, then CPU), ``cpu``, ``cuda``, ``cuda:1``, ``mps``.

    Raises:
        ConfigError: no such device on this machine.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except (RuntimeError, TypeError) as error:
        raise ConfigError(f"device {name!r} is unknown; use auto, cpu, cuda, cuda:N or mps") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigError(
            f"device {name}: this machine has {torch.cuda.device_count()} CUDA devices; use --device auto"
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ConfigError("device mps: not available on this machine; use --device auto")
    if device.type not in ("cpu", "cuda", "mps"):
        raise ConfigError(f"device {name!r} is not supported; use auto, cpu, cuda, cuda:N or mps")
    return device


def resolve_precision(precision: Precision, device: torch.device) -> torch.dtype | None:
    """The autocast type, None for float32. ``auto`` takes bfloat16 where the hardware computes in it.

    Raises:
        ConfigError: no such precision, or half precision on a CPU.
    """
    if precision not in get_args(Precision):
        raise ConfigError(f"precision {precision!r} is unknown; choose from {', '.join(get_args(Precision))}")
    native = device.type == "cpu" and torch.cpu._is_avx512_bf16_supported()
    if precision == "auto":
        if device.type == "cuda":
            return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
        return torch.bfloat16 if native else None
    if precision == "fp16" and device.type == "cpu":
        raise ConfigError("precision fp16 is for GPUs; use bf16 or fp32 on a CPU")
    if precision == "bf16" and device.type == "cpu" and not native:
        _log.warning("precision bf16: this CPU computes it by emulation, many times slower than fp32; auto would not")
    return {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}[precision]
