"""Errors for heads that can't become part of an ONNX file."""

from __future__ import annotations

from typing import Any

from transferkit import registry

__all__ = ["head_name", "refused"]


def head_name(head: Any) -> str:
    """Name of a head of ours, or of the class of another one."""
    module = type(head).__module__
    ours = module.startswith("transferkit.heads.")
    return module.rpartition(".")[2] if ours else type(head).__name__


def refused(head: Any, reason: str) -> ValueError:
    """Make the error that says why, and which heads can be exported."""
    *names, last = registry.names("transferkit.export.heads")
    return ValueError(
        f"head {head_name(head)!r} can't become part of an ONNX file ({reason}); train one that "
        f"can on the same stored features: {', '.join(names)} or {last}"
    )
