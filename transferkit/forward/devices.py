"""Names of devices, and the choice among them."""

from __future__ import annotations

import re

import torch

__all__ = ["DEVICES", "check_device_name", "choose_device", "device_names", "has_fast_bf16"]

DEVICES = ("auto", "cpu", "cuda", "mps")


def choose_device(device: str = "auto") -> torch.device:
    """Device to compute on.

    Parameters
    ----------
    device : str, default="auto"
        ``"auto"`` takes a GPU when there is one, else the CPU; ``"cpu"``, ``"cuda"``,
        ``"cuda:1"``, ``"mps"``.

    Raises
    ------
    ValueError
        If there's no such device on this machine.
    """
    if device == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    if "," in device:
        raise ValueError(
            f"device is {device!r}, and one is needed here; several are for extracting features "
            f"(fine-tuning on several GPUs starts with 'accelerate launch')"
        )
    check_device_name(device)
    try:
        chosen = torch.device(device)
        torch.empty(1, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device {device!r} can't be used on this machine "
            f"({str(error).splitlines()[0]}); choose 'auto' or 'cpu'"
        ) from error
    return chosen


def check_device_name(device: str) -> None:
    """Raise a ValueError if there's no such kind of device anywhere."""
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", device):
        raise ValueError(f"device is {device!r}; choose one of {', '.join(DEVICES)}, cuda:N")


def device_names(devices: str) -> list[str]:
    """Names of one device, or of several with commas between.

    Raises
    ------
    ValueError
        If there's no such kind of device anywhere, or ``"auto"`` is one of several.
    """
    names = [name.strip() for name in devices.split(",")]
    for name in names:
        check_device_name(name)
    if len(names) > 1 and "auto" in names:
        raise ValueError(f"device is {devices!r}; 'auto' stands alone: name each device")
    return names


def has_fast_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bf16 natively; elsewhere it is slower than float32."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    # An older PyTorch can't tell, so the answer is no.
    known: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return bool(known.get("avx512_bf16") or known.get("amx_bf16"))
