"""Instance segmentation: a mask, a box, a class and a score for every object."""

from transferkit.tasks.dense._task import DenseTask

__all__ = ["TASK"]

TASK = DenseTask(
    name="instances",
    summary="An instance segmentation of objects of {n} classes",
    estimator="TransferInstanceSegmenter",
    heads="transferkit.dense.instances",
    needs="masks",
    outputs="classes",
    default_head="mask-rcnn",
    forms=("coco", "instances", "yolo", "cvat"),
    first_class=1,
    fine_tuner="FineTuneInstanceSegmenter",
    hub_task="image-segmentation",
)
