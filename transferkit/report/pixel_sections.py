"""Sections of a page on a segmentation: classes, confusions, images."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from transferkit.metrics import PixelCounts, SegmentationReport
from transferkit.metrics._pixels import iou_of
from transferkit.report.figures import SHOWN_CLASSES, bar_chart, histogram, matrix
from transferkit.report.page import Part, Section
from transferkit.uncertainty import bootstrap_draws, draws_for

__all__ = ["iou_intervals", "pixel_sections"]

Array = NDArray[Any]


def iou_intervals(counts: PixelCounts) -> tuple[Array, Array]:
    """95 % interval of each class's IoU, over images that are drawn with replacement.

    Parameters
    ----------
    counts : PixelCounts
        From `count_pixels`.

    Returns
    -------
    (ndarray, ndarray)
        Low and high end, each of shape (n_classes,); NaN where an IoU is undefined.
    """
    table = np.stack([counts.hits, counts.true, counts.predicted], axis=1).astype(float)
    n, _, n_classes = table.shape
    flat = table.reshape(n, -1)

    def drawn(rows: Array) -> Array:
        sums = np.bincount(rows, minlength=n) @ flat
        return iou_of(*sums.reshape(3, n_classes))

    draws = bootstrap_draws(drawn, n, n_draws=draws_for(flat.size))
    ends = np.full((2, n_classes), np.nan)
    known = ~np.isnan(draws).all(axis=0)
    ends[:, known] = np.nanquantile(draws[:, known], (0.025, 0.975), axis=0)
    return ends[0], ends[1]


def pixel_sections(report: SegmentationReport, counts: PixelCounts) -> list[Section]:
    """Sections on classes, confusions and images.

    Parameters
    ----------
    report : SegmentationReport
        Of these counts.
    counts : PixelCounts
        From `count_pixels`.
    """
    return [
        Section(
            "Classes",
            [_bars(counts)],
            "Intersection over union of each class over all images' pixels, with 95 % intervals "
            "from a bootstrap over the images; and how well its boundary is found, of each image "
            "in the mean.",
        ),
        Section(
            "Confusions",
            _confusions(report),
            "Of the pixels that are truly of a class (row), the share that is predicted to be of "
            "each (column).",
        ),
        Section(
            "IoU of the images",
            [_images(counts)],
            "The mean IoU of each image's own classes: whether all images are alike, or some fail.",
        ),
    ]


def _bars(counts: PixelCounts) -> Part:
    low, high = iou_intervals(counts)
    order = np.argsort(-np.nan_to_num(counts.iou, nan=-1.0), kind="stable")
    order = order[~np.isnan(counts.iou[order])]
    # Of many classes the best and the worst ones.
    half = SHOWN_CLASSES // 2
    if len(order) > SHOWN_CLASSES:
        order = np.concatenate([order[:half], order[-half:]])
    return bar_chart(
        [counts.classes[c] for c in order],
        100 * counts.iou[order],
        interval=(100 * low[order], 100 * high[order]),
        name="IoU",
        points=("boundary F", 100 * counts.boundary_f[order]),
        x_title="%",
        x_range=(0, 100),
        label="IoU and boundary F of each class",
    )


def _confusions(report: SegmentationReport) -> list[Part]:
    if len(report.labels) > SHOWN_CLASSES:
        return []  # the table of the largest ones tells more
    cells = np.array(report.confusion, dtype=float)
    columns = [*report.labels, "none of these"]
    if not cells[:, -1].any():
        cells, columns = cells[:, :-1], columns[:-1]
    return [matrix(cells, report.labels, columns, unit="pixels")]


def _images(counts: PixelCounts) -> Part:
    known = counts.image_iou[~np.isnan(counts.image_iou)]
    return histogram(
        {"images": 100 * known},
        (0, 100),
        x_title="mean IoU, %",
        y_title="images",
        label="Histogram of the images' mean IoU",
    )
