"""What ``transferkit finetune`` does alike for all tasks: the training, and what is printed."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transferkit.cli._output import counted, print_pairs

if TYPE_CHECKING:
    from transferkit.cli._training import Measured
    from transferkit.datasets import Division

__all__ = ["print_tuned", "show_recipe", "tuned_result"]


def show_recipe() -> None:
    """Let the recipe be printed before training starts."""
    for room in ("finetune", "training"):
        logging.getLogger(f"transferkit.{room}").setLevel(logging.INFO)


def tuned_result(
    model: Any, out: Path, n_images: int, parts: Division, measured: Measured
) -> dict[str, Any]:
    """The results of training, as they are printed."""
    best = model.history_[model.best_epoch_]
    return {
        "model": str(out),
        "run": str(model.folder_),
        "images": n_images,
        "train": len(model.train_ids_),
        "test": measured.n,
        "left_out": sum(parts.left_out.values()),
        "parts": parts.line(),
        "strategy": model.strategy,
        "epochs": len(model.history_) - 1,
        "best_epoch": model.best_epoch_,
        "seconds": round(model.history_[-1]["seconds"], 1),
        "validation": best.get("val_metric"),
        "validation_before": model.history_[0].get("val_metric"),
        "report": None if measured.report is None else measured.report.to_dict(),
        "not_measured": measured.reason or None,
    }


def print_tuned(result: dict[str, Any], parts: Division, tests: list[tuple[str, str]]) -> None:
    chosen = f"epoch {result['best_epoch']} of {result['epochs']}"
    if not result["best_epoch"]:
        chosen = f"no gain: the start, before any of {result['epochs']} epochs"
    if result["validation"] is not None:
        chosen += (
            f"; {result['validation']:.3f} on the validation part, "
            f"{result['validation_before']:.3f} before"
        )
    print_pairs(
        [
            ("images", f"{result['images']:,}"),
            *([("parts", parts.line())] if parts.roles is not None else []),
            ("trained", f"{result['strategy']}, {result['seconds']:.1f} s"),
            ("kept", chosen),
            *tests,
            ("curves", f"{result['run']}"),
            ("model", f"{result['model']} (trained on {counted(result['train'], 'image')})"),
        ]
    )
