"""Oriented detection: a turned rectangle, a class and a score for every object."""

from transferkit.tasks.dense._task import DenseTask

__all__ = ["TASK"]

TASK = DenseTask(
    name="oriented",
    summary="A detector of oriented boxes of {n} classes",
    estimator="TransferOrientedDetector",
    heads="transferkit.dense.oriented",
    needs="oriented",
    outputs="classes",
    default_head="rotated-fcos",
    forms=("dota", "yolo", "voc", "coco", "cvat", "csv"),
    first_class=1,
    fine_tuner="FineTuneOrientedDetector",
)
