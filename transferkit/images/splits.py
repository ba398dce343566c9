"""The names of splits."""

__all__ = ["SPLITS", "SPLIT_OF"]

SPLITS = ("train", "val", "test")
"""The splits' names; ``valid`` and ``validation`` mean ``val``."""

SPLIT_OF = {**{name: name for name in SPLITS}, "valid": "val", "validation": "val"}
"""Split of every way to write it, in lower case."""
