"""`Finding` and `Inspection`: what is likely wrong with a data set, image by image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from transferkit.images import Failure, ImageSet
from transferkit.registry import unknown

__all__ = ["KINDS", "Finding", "Inspection", "check_kinds", "in_order"]

KINDS = (
    *("exact duplicate", "near duplicate", "label", "outlier", "odd file"),
    *("faulty annotation", "doubled box", "odd box", "missing box", "box label", "odd number"),
    *("leaking mask", "odd map", "rare class"),
)
"""Kinds of findings, in the order in which they are told: of images, then of annotations."""


@dataclass(frozen=True)
class Finding:
    """Something that is likely wrong with an image.

    Parameters
    ----------
    kind : str
        What: one of `KINDS`.
    image : int
        Its position in the image set.
    score : float
        How sure it is, from 0 to 1; findings of one kind are sorted by it, the surest first, but
        copies across splits before all others.
    reason : str
        In a sentence, with the numbers that decide.
    other : int, optional
        Position of the image that it is like.
    suggestion : str, default=""
        What to put instead, such as another label.
    box : tuple of 4 floats, optional
        Where on the image, xyxy px.
    is_excluded : bool, default=False
        Whether the image stands in the list of those to leave out.
    """

    kind: str
    image: int
    score: float
    reason: str
    other: int | None = None
    suggestion: str = ""
    box: tuple[float, float, float, float] | None = None
    is_excluded: bool = False


@dataclass(frozen=True)
class Inspection:
    """All that was found in a data set.

    Parameters
    ----------
    images : ImageSet
        The images, those that can't be read too.
    findings : sequence of Finding
        Kind after kind.
    facts : mapping of str to str
        What was looked at, and with what: to be told above the findings.
    balance : mapping of str to mapping of str to int
        Images of each class, by part of the data set; of annotated images their objects.
    failures : sequence of Failure
        Images that can't be read.
    """

    images: ImageSet
    findings: Sequence[Finding]
    facts: Mapping[str, str] = field(default_factory=dict, hash=False)
    balance: Mapping[str, Mapping[str, int]] = field(default_factory=dict, hash=False)
    failures: Sequence[Failure] = ()

    def of(self, kind: str) -> list[Finding]:
        """Findings of a kind."""
        return [finding for finding in self.findings if finding.kind == kind]

    def lines(self) -> list[dict[str, Any]]:
        """One flat line for each finding, for a table."""
        return [
            {
                "kind": one.kind,
                "path": self.images.names[one.image],
                "score": round(one.score, 4),
                "reason": one.reason,
                "other": "" if one.other is None else self.images.names[one.other],
                "suggestion": one.suggestion,
                "box": "" if one.box is None else " ".join(f"{side:g}" for side in one.box),
                "excluded": one.is_excluded,
            }
            for one in self.findings
        ]

    def excluded(self) -> list[str]:
        """Paths to leave out, each once."""
        return list(
            dict.fromkeys(self.images.names[one.image] for one in self.findings if one.is_excluded)
        )


def check_kinds(kinds: Sequence[str]) -> None:
    """Raise a ValueError if something is no kind of findings.

    Parameters
    ----------
    kinds : sequence of str
        Such as ``"label"``.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise unknown("kind of finding", kind, KINDS)


def in_order(findings: Sequence[Finding]) -> list[Finding]:
    """Sort findings kind after kind, the surest of each first.

    Examples
    --------
    >>> found = [Finding("odd box", 2, 0.5, ""), Finding("outlier", 0, 0.1, "")]
    >>> [one.kind for one in in_order([*found, Finding("odd box", 1, 0.9, "")])]
    ['outlier', 'odd box', 'odd box']
    """
    return sorted(findings, key=lambda one: (KINDS.index(one.kind), -one.score, one.image))
