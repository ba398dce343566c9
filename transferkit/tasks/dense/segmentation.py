"""Segmentation: a class for every pixel."""

from transferkit.tasks.dense._task import DenseTask

__all__ = ["TASK"]

TASK = DenseTask(
    name="segmentation",
    summary="A segmentation of images into {n} classes",
    estimator="TransferSegmenter",
    heads="transferkit.dense.segmentation",
    needs="map",
    outputs="classes",
    default_head="unet",
    forms=("masks", "coco"),
    fine_tuner="FineTuneSegmenter",
    hub_task="image-segmentation",
)
