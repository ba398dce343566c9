"""The page of an inspection: what was found, as pictures, and which images to leave out."""

from __future__ import annotations

import html
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from transferkit.annotations import Annotations, AnnotationSet
from transferkit.images import SPLITS, ImageSet
from transferkit.inspection.findings import Finding, Inspection
from transferkit.inspection.search import label_text
from transferkit.report.charts import bars
from transferkit.report.inspection.snapshots import snapshot, snapshot_of_box, snapshot_of_pair
from transferkit.report.page import (
    Chart,
    DataTable,
    Gallery,
    Page,
    Part,
    Picture,
    Section,
    Text,
)

__all__ = ["inspection_page"]

# Title and how to read it, of each kind, in the order in which they stand on the page.
_KINDS = {
    "exact duplicate": ("Exact duplicates", "Images of the same bytes."),
    "near duplicate": (
        "Near duplicates",
        "Images whose features are nearly the same: recompressed, cropped, mirrored, or the next "
        "picture of a series. Across splits they make a measurement look better than it is.",
    ),
    "label": (
        "Labels to look at",
        "The features say that another label is likelier; what they say stands behind the arrow. "
        "Some of these are hard, and right as they are.",
    ),
    "outlier": ("Outliers", "Images that are unlike all others, or unlike those of their class."),
    "odd file": ("Odd files", "Images of another kind than the others: grey, tiny, long."),
    "faulty annotation": (
        "Faulty annotations",
        "What had to be mended or left out when the annotations were read.",
    ),
    "doubled box": ("Doubled boxes", "Objects that were likely marked twice."),
    "odd box": ("Odd boxes", "Boxes of a size or shape that is rare in their class."),
    "missing box": ("Missing boxes", "Images, or places in them, where objects lack a box."),
    "box label": (
        "Labels of boxes to look at",
        "A model that wasn't trained on these images finds another class there.",
    ),
    "odd number": ("Unusually many objects", "Images with far more objects than the others."),
    "leaking mask": ("Leaking masks", "Masks that leave their box, have stray parts or holes."),
    "odd map": ("Odd class maps", "Maps that are void, or of a single class where others aren't."),
    "rare class": ("Rare classes", "Classes of so few objects that they may be a slip."),
}
_WITH_LABELS = ("exact duplicate", "near duplicate", "label", "outlier", "odd file")
# Side of a picture in px; classes of a chart; paths of the list, and lines of a table at most.
_SIDE, _CLASSES, _PATHS = 240, 40, 20_000
# The list has a place of its own to scroll in.
_SCROLLED = "overflow: auto; max-height: 20em; font-size: 0.85em"

logger = logging.getLogger(__name__)


def inspection_page(
    inspection: Inspection,
    *,
    title: str = "Inspection",
    annotations: AnnotationSet | None = None,
    most: int = 24,
) -> Page:
    """Show what was found, kind by kind, with the pictures that it is about.

    Parameters
    ----------
    inspection : Inspection
        What was found. The pictures are read from its images, those that are shown alone; where
        one can't be read, a grey one says so.
    title : str, default="Inspection"
        What stands on top, such as the data set's name.
    annotations : AnnotationSet, optional
        One for each image: pictures of boxes and masks show those around them too.
    most : int, default=24
        Of each kind so many findings are shown as pictures, the surest.

    Returns
    -------
    Page
    """
    kinds = Counter(finding.kind for finding in inspection.findings)
    order = [*(kind for kind in _KINDS if kind in kinds), *(k for k in kinds if k not in _KINDS)]
    excluded = inspection.excluded()
    facts = {
        "images": f"{len(inspection.images):,}",
        "findings": f"{len(inspection.findings):,}",
        "to leave out": f"{len(excluded):,}",
    }
    facts |= {name: text for name, text in inspection.facts.items() if name in facts}
    told = [
        Text(f"{name.capitalize()}: {text}.")
        for name, text in inspection.facts.items()
        if name not in facts
    ]
    sections = [
        Section("What was found", [_summary(inspection, order), *told]),
        Section("Classes", _balance(inspection.balance)),
        *(_section(inspection, kind, annotations, most) for kind in order),
        Section("To leave out", _excluded(excluded), "What --exclude FILE takes, a path a line."),
    ]
    return Page(title, sections, facts)


def _summary(inspection: Inspection, order: Sequence[str]) -> Part:
    """How many of each kind, of how many images."""
    if not order:
        return Text("Nothing: no kind of mistake that is looked for was found.")
    rows: list[list[str | float | None]] = []
    for kind in order:
        found = inspection.of(kind)
        images = {finding.image for finding in found}
        left_out = {finding.image for finding in found if finding.is_excluded}
        share = round(100 * len(images) / len(inspection.images), 1)
        rows.append([_title(kind), len(found), len(images), share, len(left_out)])
    return DataTable(["kind", "findings", "images", "% of images", "to leave out"], rows)


def _title(kind: str) -> str:
    return _KINDS[kind][0] if kind in _KINDS else kind.capitalize()


# ---- classes ------------------------------------------------------------------------


def _balance(balance: Mapping[str, Mapping[str, int]]) -> list[Part]:
    """A bar for each class and part of the data set; of many classes the largest and smallest."""
    totals: Counter[str] = Counter()
    for counts in balance.values():
        totals.update(counts)
    if not totals:
        return []
    names = [name for name, _ in totals.most_common()]
    shown, left_out = names, ""
    if len(names) > _CLASSES:
        half = _CLASSES // 2
        shown = [*names[:half], *names[-half:]]
        left_out = f"The {half} largest and {half} smallest of {len(names):,} classes."
    parts = sorted(balance, key=lambda part: (*SPLITS, part).index(part))
    series = {part: [balance[part].get(name, 0) for name in shown] for part in parts}
    figure = bars(shown, series, title="number")
    figure["layout"]["barmode"] = "stack"
    label = "Number of images or objects of each class, by part of the data set"
    return [Chart(figure, label, 110 + 22 * len(shown), left_out=left_out)]


# ---- findings -----------------------------------------------------------------------


def _section(
    inspection: Inspection, kind: str, annotations: AnnotationSet | None, most: int
) -> Section:
    found = inspection.of(kind)
    pictures = [_picture(inspection.images, one, annotations) for one in found[:most]]
    left_out = f"The surest {most:,} of {len(found):,} are shown." if len(found) > most else ""
    is_wide = any(one.other is not None for one in found[:most])
    parts = [Gallery(pictures, width=300 if is_wide else 200, left_out=left_out)]
    return Section(_title(kind), parts, _KINDS[kind][1] if kind in _KINDS else "")


def _picture(images: ImageSet, one: Finding, annotations: AnnotationSet | None) -> Picture:
    name = images.names[one.image]
    lines = [one.reason]
    if one.other is not None:
        shown = snapshot_of_pair(images, one.image, one.other, _SIDE)
        both = [_told(images, i) for i in (one.image, one.other)]
        lines = [f"{images.names[one.other]}", *([" | ".join(both)] if any(both) else []), *lines]
    elif one.kind in _WITH_LABELS and one.box is None:
        shown = snapshot(images, one.image, _SIDE)
        told = _told(images, one.image)
        given = label_text(images, one.image)
        if one.suggestion:
            told = told.replace(given, f"{given} → {one.suggestion}", 1) if given else told
        lines = [*([told] if told else []), *lines]
    else:
        own = _annotations_of(annotations, one.image)
        shown = snapshot_of_box(images, one.image, one.box, own, _SIDE)
        lines = [*lines, *([f"→ {one.suggestion}"] if one.suggestion else [])]
    lines.append(f"score {one.score:.2f}" + ", to leave out" * one.is_excluded)
    return Picture(shown, name, lines)


def _told(images: ImageSet, image: int) -> str:
    """Label and split of an image."""
    split = None if images.splits is None else images.splits[image]
    return ", ".join(part for part in (label_text(images, image), split) if part)


def _annotations_of(annotations: AnnotationSet | None, image: int) -> Annotations | None:
    """Annotations of an image, if it has any that can be read."""
    if annotations is None or annotations.items[image] is None:
        return None
    try:
        one: Annotations = annotations[image]
    except (ValueError, OSError) as error:
        logger.debug("no annotations of an image: %s", error)
        return None
    return one


# ---- the list -----------------------------------------------------------------------


@dataclass(frozen=True)
class PathList:
    """Paths to copy, one a line.

    Parameters
    ----------
    paths : sequence of str
        The paths.
    """

    paths: Sequence[str]

    def to_html(self) -> str:
        """Markup of the part."""
        lines = html.escape("\n".join(self.paths))
        return f'<pre tabindex="0" style="{_SCROLLED}">{lines}</pre>'


def _excluded(paths: Sequence[str]) -> list[Part]:
    if not paths:
        return []
    more = len(paths) - _PATHS
    told: list[Part] = [Text(f"{more:,} more stand in the file.")] if more > 0 else []
    return [PathList(paths[:_PATHS]), *told]
