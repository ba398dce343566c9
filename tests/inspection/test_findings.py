"""Kinds of findings, and their order."""

import os

import numpy as np
import pytest

from transferkit.images import ImageSet
from transferkit.inspection.findings import KINDS, Finding, Inspection, check_kinds, in_order


def test_findings_stand_kind_after_kind_the_surest_first():
    rng = np.random.default_rng(0)
    found = [
        Finding(KINDS[kind], i, float(score), "")
        for i, (kind, score) in enumerate(zip(rng.integers(0, 14, 60), rng.random(60), strict=True))
    ]
    expected = []
    for kind in KINDS:
        own = [one for one in found if one.kind == kind]
        while own:
            best = max(own, key=lambda one: one.score)
            expected.append(best)
            own.remove(best)
    assert in_order(found) == expected


def test_kinds_are_checked_whatever_was_found():
    check_kinds(KINDS)
    with pytest.raises(ValueError, match="unknown kind of finding 'od box'; did you mean 'odd box"):
        check_kinds(["label", "od box"])


def test_paths_to_leave_out_stand_once_whatever_their_bytes():
    name = os.fsdecode(b"\xe9.png")
    images = ImageSet((b"", b""), (name, "1.png"))
    found = [Finding("label", 0, 1.0, "", is_excluded=True), Finding("outlier", 1, 1.0, "")]
    again = Finding("odd box", 0, 0.5, "", box=(1, 2.5, 3, 4), is_excluded=True)
    inspection = Inspection(images, [*found, again])
    assert inspection.excluded() == [name]
    assert inspection.lines()[2]["box"] == "1 2.5 3 4"
