"""The picture of images with their predictions, and that of precision over recall."""

import numpy as np
import pytest
from PIL import Image

from tests.pictures import coloured
from transferkit.annotations import Annotations
from transferkit.images import ImageSet
from transferkit.metrics import detection_report
from transferkit.report.plots import draw_precision, draw_predictions


@pytest.mark.parametrize("n_wrong", [0, 5])
def test_a_picture_is_drawn(tmp_path, n_wrong):
    pixels, codes = coloured(4)
    images = ImageSet(tuple(pixels), tuple(map(str, range(len(pixels)))))
    predicted = [*((c + 1) % 3 for c in codes[:n_wrong]), *codes[n_wrong:]]
    path = tmp_path / "picture.png"
    draw_predictions(images, list(codes), predicted, path)
    with Image.open(path) as picture:
        assert picture.size == (1300, 560)
        assert len(picture.convert("RGB").getcolors(1 << 24)) > 50


@pytest.mark.parametrize("n_classes", [1, 15])
@pytest.mark.parametrize("is_found", [True, False])
def test_precision_is_drawn_of_few_classes_and_many(tmp_path, n_classes, is_found):
    labels = np.repeat(np.arange(1, n_classes + 1), 3)
    boxes = np.array([[10.0 * i, 0, 10 * i + 8, 9] for i in range(len(labels))])
    truth = Annotations((10, 500), boxes=boxes, labels=labels)
    said = labels if is_found else np.zeros(0, int)
    scores = np.linspace(1, 0.1, len(said))
    found = Annotations((10, 500), boxes=boxes[: len(said)], labels=said, scores=scores)
    names = ["background", *(f"class {i}" for i in range(n_classes))]
    path = tmp_path / "curves.png"
    draw_precision(detection_report([truth], [found], names), path)
    with Image.open(path) as picture:
        assert picture.size == (700, 560)
