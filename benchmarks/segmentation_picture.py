"""Picture of what a segmenter finds: the worst, a middling and the best image of nuclei.

    TRANSFERKIT_DATA=FOLDER python benchmarks/segmentation_picture.py

The folder is that of ``segmentation.py``; the head is the default one, on maps of 256 × 256 px.
Writes ``benchmarks/results/segmentation.png``: image, truth and prediction side by side.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from segmentation import extractor, parts

RESULT = Path(__file__).parent / "results" / "segmentation.png"


def main() -> None:
    """Train, predict and draw."""
    from transferkit import TransferSegmenter
    from transferkit.metrics import segmentation_report
    from transferkit.report.drawing.overlays import overlay

    images, annotations, test, truth = parts("nuclei")
    with tempfile.TemporaryDirectory() as store:
        model = TransferSegmenter(extractor("nuclei", store, "float16"))
        model.fit(images, annotations)
        predicted = model.predict(test)
    worth = [
        segmentation_report([true], [found], truth.classes).value("mean_iou") or 0.0
        for true, found in zip(truth, predicted, strict=True)
    ]
    order = np.argsort(worth)
    rows = []
    for i in (order[0], order[len(order) // 2], order[-1]):
        pixels = np.asarray(Image.open(test.items[i]).convert("RGB"))
        rows.append(overlay(pixels, predicted[i], truth.classes, truth=truth[int(i)]))
        print(test.names[i], f"mean IoU {worth[i]:.3f}")
    size = max(row.width for row in rows), sum(row.height for row in rows)
    sheet = Image.new("RGB", size, "white")
    top = 0
    for row in rows:
        sheet.paste(row, (0, top))
        top += row.height
    sheet.save(RESULT, optimize=True)


if __name__ == "__main__":
    main()
