"""Detection: a box, a class and a score for every object."""

from transferkit.tasks.dense._task import DenseTask

__all__ = ["TASK"]

TASK = DenseTask(
    name="detection",
    summary="A detector of objects of {n} classes",
    estimator="TransferDetector",
    heads="transferkit.dense.detection",
    needs="boxes",
    outputs="classes",
    default_head="faster-rcnn",
    forms=("coco", "voc", "yolo", "cvat", "csv"),
    first_class=1,
    fine_tuner="FineTuneDetector",
    hub_task="object-detection",
)
