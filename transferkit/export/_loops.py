"""Operators of torch that take a loop, as scripts of ONNX. Imported only where ONNX is written."""

from onnxscript import BOOL, script
from onnxscript import opset18 as op
from onnxscript.values import Opset

__all__ = ["unrivalled"]


def _unrivalled(beats: BOOL, usable: BOOL) -> BOOL:
    """See `transferkit.dense.oriented._survivors.unrivalled`."""
    weights = op.Cast(beats, to=1)  # float32
    none = op.Constant(value_float=0.0)
    stay = op.Identity(usable)
    goes_on = op.Constant(value=True)
    while goes_on:
        rivals = op.MatMul(op.Unsqueeze(op.Cast(stay, to=1), [1]), weights)
        after = op.And(usable, op.Equal(op.Squeeze(rivals, [1]), none))
        changes = op.Cast(op.Xor(after, stay), to=6)  # int32
        goes_on = op.Cast(op.ReduceMax(changes, keepdims=0), to=9)  # bool
        stay = op.Identity(after)
    return stay


unrivalled = script(Opset("transferkit", 1), default_opset=op)(_unrivalled)
