"""Objects that a model is sure of and the truth lacks are named; what it doubts isn't."""

import numpy as np

from transferkit.annotations import Annotations
from transferkit.inspection.detections import inspect_detections

SIZE = (100, 200)
CLASSES = ("background", "cat", "dog")
CAT, DOG = [10.0, 10, 50, 50], [100.0, 20, 160, 80]


def annotated(boxes, labels, scores=None, ignored=None) -> Annotations:
    return Annotations(
        SIZE,
        boxes=np.array(boxes, dtype=float).reshape(-1, 4),
        labels=np.array(labels, dtype=int),
        scores=None if scores is None else np.array(scores, dtype=float),
        ignored=None if ignored is None else np.array(ignored),
    )


def pairs(n: int = 20) -> tuple[list, list]:
    """A cat and a dog in each image, found with scores of 0.6 and 0.8 on average."""
    truth = [annotated([CAT, DOG], [1, 2]) for _ in range(n)]
    found = [annotated([CAT, DOG], [1, 2], [0.5 + 0.2 * (i % 2), 0.8]) for i in range(n)]
    return truth, found


def with_object(one: Annotations, box, label: int, score: float) -> Annotations:
    return annotated(
        [*one.boxes.tolist(), box], [*one.labels.tolist(), label], [*one.scores.tolist(), score]
    )


def test_where_both_agree_nothing_is_found():
    assert inspect_detections(*pairs(), CLASSES) == []


def test_boxes_that_are_missing():
    truth, found = pairs()
    truth[3] = annotated([CAT], [1])  # the dog lacks its box
    found[5] = with_object(found[5], [60, 60, 90, 90], 1, 0.61)
    found[6] = with_object(found[6], [60, 60, 90, 90], 1, 0.59)  # not as sure as of other cats
    found[7] = with_object(found[7], [20, 20, 35, 35], 1, 0.9)  # a part of the cat
    findings = inspect_detections(truth, found, CLASSES)
    assert [(one.kind, one.image, one.suggestion) for one in findings] == [
        ("missing box", 3, "dog"),
        ("missing box", 5, "cat"),
    ]
    assert findings[0].box == tuple(DOG)
    assert findings[1].reason == "cat is found with a score of 0.61, and there is no box"


def test_boxes_of_another_class():
    truth, found = pairs()
    truth[2] = annotated([CAT, DOG], [2, 2])
    truth[4] = annotated([CAT, DOG], [2, 2])
    found[2] = annotated([CAT, DOG], [1, 2], [0.9, 0.8])
    found[4] = annotated([CAT, CAT, DOG], [1, 2, 2], [0.9, 0.91, 0.8])  # of two minds
    [finding] = inspect_detections(truth, found, CLASSES)
    assert (finding.kind, finding.image, finding.suggestion) == ("box label", 2, "cat")
    assert finding.reason == "called dog, and found as cat with a score of 0.90"
    truth[2] = annotated([CAT, DOG], [2, 2], ignored=[True, False])
    assert inspect_detections(truth, found, CLASSES) == []


def test_what_a_model_does_not_know_is_not_told():
    truth, found = pairs(9)  # too few of each class to say what a sure detection is
    truth[3] = annotated([CAT], [1])
    assert inspect_detections(truth, found, CLASSES) == []


def test_images_that_lack_either_are_passed_over():
    truth, found = pairs()
    truth[0], found[1], truth[2] = None, None, annotated([], [])
    findings = inspect_detections(truth, found, CLASSES)
    assert {one.image for one in findings} == {2}
