"""Operators of torch that detection needs, told in ONNX's operators."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torchvision  # noqa: F401  roi_align is an operator of torch from here on

# And so are survivors and unrivalled, which these two define.
from transferkit.dense import detection, oriented  # noqa: F401

__all__ = ["operators"]


def operators() -> dict[Any, Callable[..., Any]]:
    """Functions from the inputs of operators of torch to nodes of a graph.

    RoIAlign is among them because only newer exporters know it.
    """
    from transferkit.export._loops import unrivalled

    return {
        torch.ops.aten.sort.stable: _sort,
        torch.ops.transferkit.survivors.default: _survivors,
        torch.ops.transferkit.unrivalled.default: unrivalled,
        torch.ops.torchvision.roi_align.default: _roi_align,
    }


def _survivors(boxes: Any, scores: Any, groups: Any, iou: float) -> Any:
    """See `transferkit.dense.detection._survivors.survivors`.

    NonMaxSuppression keeps images and classes apart by itself. It takes a score of each box for
    each class: here the box's own for its group, and 0, which doesn't stay, for the others. It
    gives a list of (image, class, box), which is scattered into a mask of fixed shape.
    """
    from onnxscript import opset18 as op

    axis, one = op.Constant(value_ints=[1]), op.Constant(value_int=1)
    most = op.ReduceMax(groups, keepdims=0)
    each = op.Unsqueeze(op.Range(op.Constant(value_int=0), op.Add(most, one), one), axis)
    is_own = op.Equal(op.Unsqueeze(groups, axis), each)
    by_group = op.Where(is_own, op.Unsqueeze(scores, axis), op.Constant(value_float=0.0))
    chosen = op.NonMaxSuppression(
        boxes,
        by_group,
        op.Shape(scores, start=1),
        op.Constant(value_floats=[iou]),
        op.Constant(value_floats=[0.0]),
    )
    at = op.Gather(chosen, op.Constant(value_ints=[0, 2]), axis=1)
    ones = op.Expand(op.Constant(value_float=1.0), op.Shape(at, end=1))
    counts = op.ScatterND(op.ConstantOfShape(op.Shape(scores)), at, ones)
    return op.Greater(counts, op.Constant(value_float=0.0))


def _sort(self: Any, stable: bool, dim: int = -1, descending: bool = False) -> Any:
    """See `torch.sort`. TopK has the first of equal values first, as a stable sort has."""
    from onnxscript import opset18 as op

    n = op.Gather(op.Shape(self), op.Constant(value_ints=[dim]))
    return op.TopK(self, n, axis=dim, largest=int(descending), sorted=1)


def _roi_align(
    input: Any,
    rois: Any,
    spatial_scale: float,
    pooled_height: int,
    pooled_width: int,
    sampling_ratio: int,
    aligned: bool,
) -> Any:
    """See `torchvision.ops.roi_align`, whose RoIs begin with the number of their image."""
    from onnxscript import opset18 as op

    image = op.Cast(op.Gather(rois, op.Constant(value_int=0), axis=1), to=7)  # int64
    edges = op.Gather(rois, op.Constant(value_ints=[1, 2, 3, 4]), axis=1)
    return op.RoiAlign(
        input,
        edges,
        image,
        coordinate_transformation_mode="half_pixel" if aligned else "output_half_pixel",
        output_height=pooled_height,
        output_width=pooled_width,
        sampling_ratio=max(sampling_ratio, 0),
        spatial_scale=spatial_scale,
    )
