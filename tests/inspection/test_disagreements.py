"""A model's predictions meet the annotations of the same images, whatever can't be read."""

from types import SimpleNamespace

import numpy as np
import pytest

from tests.inspection.test_detections import CAT, CLASSES, annotated, pairs
from transferkit.annotations import AnnotationSet
from transferkit.images import ImageSet
from transferkit.inspection.disagreements import model_disagreements


class ModelOf:
    """Predicts what it was given, of the images that it can read."""

    task_name = "detection"
    classes_ = CLASSES

    def __init__(self, predicted, kept, trained=()):
        self.predicted, self.kept = predicted, kept
        self.train_ids_ = np.array([[i] for i in trained], dtype=np.uint8)

    def maps(self, images, on_error):
        assert on_error == "skip"
        ids = [bytes([i]) for i in self.kept]
        return SimpleNamespace(extraction=SimpleNamespace(kept=np.array(self.kept), ids=ids))

    def predictions(self, maps):
        for row, i in enumerate(self.kept):
            yield row, self.predicted[i]


def image_set(n):
    return ImageSet((b"",) * n, tuple(map(str, range(n))))


def test_images_that_cannot_be_read_shift_nothing():
    truth, predicted = pairs(30)
    truth[7] = annotated([CAT], [1])
    truth[29] = annotated([CAT], [1])
    truth[12] = None
    kept = [i for i in range(30) if i not in (0, 1, 20)]
    model = ModelOf(predicted, kept, trained=[0, 3, 7])
    found, told = model_disagreements(model, image_set(30), AnnotationSet(CLASSES, truth))
    assert [(one.kind, one.image, one.suggestion) for one in found] == [
        ("missing box", 7, "dog"),
        ("missing box", 29, "dog"),
    ]
    assert told == (
        "27 images compared with what a detection model finds; it was trained on 2 of them, where "
        "it finds fewer mistakes"
    )


def test_no_image_that_can_be_read():
    truth, predicted = pairs(3)
    found, told = model_disagreements(
        ModelOf(predicted, []), image_set(3), AnnotationSet(CLASSES, truth)
    )
    assert found == []
    assert told == "0 images compared with what a detection model finds"


def test_other_classes_are_refused():
    truth, predicted = pairs(3)
    with pytest.raises(ValueError, match="the annotations have the classes background, horse"):
        model_disagreements(
            ModelOf(predicted, [0]), image_set(3), AnnotationSet(("background", "horse"), truth)
        )
