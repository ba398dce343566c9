"""Facts that are added to a model after it was saved, such as metrics for its card."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transferkit.artifacts.description import content_digest, describe
from transferkit.cards import model_card

__all__ = ["add_facts"]


def add_facts(path: str | Path, facts: Mapping[str, Any]) -> None:
    """Add facts to a saved model's model.json and card. Nothing else of the model changes.

    Parameters
    ----------
    path : path
        The model's folder.
    facts : mapping
        As in `Model.facts`; a name that is there already gets another value.
    """
    path = Path(path)
    content = describe(path)
    content["facts"] = {**content.get("facts", {}), **facts}
    content["digest"] = content_digest(content)
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    _replace(path / "model.json", text)
    _replace(path / "README.md", model_card(content))


def _replace(file: Path, text: str) -> None:
    """Write a file beside the old one and rename it, so that readers get one of them, whole."""
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("w", encoding="utf-8") as opened:
            opened.write(text)
            opened.flush()
            os.fsync(opened.fileno())
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)
