"""Anomaly detection: how strange an image is, and where."""

from transferkit.tasks.dense._task import DenseTask

__all__ = ["TASK"]

TASK = DenseTask(
    name="anomaly",
    summary="A detector of images that aren't like the good ones",
    estimator="AnomalyDetector",
    heads="transferkit.dense.anomaly",
    needs="good",
    outputs="classes",
    default_head="auto",
    forms=("masks", "coco"),
)
