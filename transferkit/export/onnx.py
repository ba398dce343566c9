"""Export to one ONNX file, from 8-bit pixels by backbone and head to labels and probabilities.

The input ``pixels`` is uint8 RGB ``(n, H, W, 3)`` of the network's size, any n; scaling and
normalisation are in the graph, where they are exact. Decoding and resizing are not: no ONNX
operator resizes to the pixel as PIL does. How it is done stands, with the names of the
classes, as JSON under ``transferkit`` in the file's metadata.
"""

from __future__ import annotations

import importlib.metadata
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from transferkit.export._check import Predictor
from transferkit.export._network import DeployedNetwork
from transferkit.export._saved import Saved
from transferkit.export._sklearn import sklearn_graph
from transferkit.export.heads import TensorHead, TreeSum, convert
from transferkit.export.heads._trees import tree_sum_nodes

__all__ = ["SUFFIX", "exported", "load", "metadata", "needed", "steps", "strip", "write"]

SUFFIX = ".onnx"
FORMAT_VERSION = 1
# Versions that every runtime since 2023 understands, and in which skl2onnx writes trees.
OPSET, ML_OPSET = 18, 3
MOST_BYTES = 2**31 - 1  # of a file without others beside it


# ---- write --------------------------------------------------------------------------


def write(saved: Saved, path: Path) -> None:
    """Write the file.

    Parameters
    ----------
    saved : Saved
        The model.
    path : Path
        The file.

    Raises
    ------
    ImportError
        If the extra isn't installed.
    ValueError
        If ONNX can't hold the model.
    """
    onnx = needed()[0]
    model = saved.model
    head = convert(model.head, saved.task)
    kind = "probabilities" if saved.task.has_classes else "values"
    other = None
    if head is None:  # asked before the network is built: it may refuse
        other = sklearn_graph(model.head, saved.task, OPSET, ML_OPSET)
    else:
        kind = head.kind
    tensors = head if isinstance(head, TensorHead) else None
    graph = exported(saved, DeployedNetwork(saved, tensors), [kind if tensors else "features"])
    strip(graph)
    if isinstance(head, TreeSum):
        graph.graph.node.extend(tree_sum_nodes(head))
    if other is not None:
        _append(graph, *other, kind)
    if tensors is None:
        graph.opset_import.append(onnx.helper.make_opsetid("ai.onnx.ml", ML_OPSET))
    _add_label(graph, saved, kind)
    _name_outputs(graph, saved, kind)
    text = json.dumps(_metadata(saved, kind), ensure_ascii=False)
    onnx.helper.set_model_props(graph, {"transferkit": text})
    graph.producer_name, graph.producer_version = "transferkit", _version("transferkit")
    onnx.checker.check_model(graph, full_check=True)
    path.write_bytes(graph.SerializeToString())


def needed() -> tuple[Any, Any]:
    """Import onnx and onnxruntime, or raise an error that says how to install them."""
    try:
        import onnx
        import onnxruntime
        import onnxscript
    except ImportError as error:
        raise ImportError(
            f"format 'onnx' needs {error.name or 'a package'}, which isn't installed; run pip "
            f"install 'transferkit[onnx]'"
        ) from error
    del onnxscript  # torch's exporter imports it
    return onnx, onnxruntime


def exported(
    saved: Saved,
    network: torch.nn.Module,
    names: list[str],
    operators: Mapping[Any, Any] | None = None,
) -> Any:
    """Export a network with torch's exporter, for any number of images.

    Parameters
    ----------
    saved : Saved
        The model.
    network : nn.Module
        From ``pixels`` to its outputs.
    names : list of str
        What the outputs are called.
    operators : mapping, optional
        How operators of torch that the exporter doesn't know are told in ONNX.
    """
    height, width = saved.model.backbone.preprocess.image_size
    example = torch.zeros((2, height, width, 3), dtype=torch.uint8)
    n_bytes = sum(t.nbytes for t in network.state_dict().values())
    if n_bytes > MOST_BYTES:
        raise ValueError(
            f"model of {n_bytes / 1e9:.1f} GB: one ONNX file holds at most 2 GB; choose a smaller "
            f"backbone, or export it for timm (--format timm)"
        )
    for module in network.modules():
        # torch's exporter takes its fused attention in four dimensions only, and Hiera's has five.
        # timm computes the same step by step without it.
        if getattr(module, "fused_attn", False) is True:
            module.fused_attn = False  # type: ignore[assignment]  # torch: a module or a tensor
    try:
        program = torch.onnx.export(
            network,
            (example,),
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=["pixels"],
            output_names=names,
            dynamic_shapes=({0: torch.export.Dim("n")},),
            custom_translation_table=dict(operators or {}),
        )
    except Exception as error:  # whatever the network's own code raises while it is traced
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"backbone {saved.model.backbone.architecture!r} can't be written as ONNX by torch "
            f"{torch.__version__} ({type(error).__name__}: {reason}); choose another backbone, or "
            f"export it for timm (--format timm)"
        ) from error
    assert program is not None
    return program.model_proto


def strip(graph: Any) -> None:
    """Remove traces of this machine, such as the source files that the exporter notes."""
    graph.ClearField("metadata_props")
    graph.ClearField("doc_string")
    stack = [graph.graph]
    while stack:
        part = stack.pop()
        for field in (part, *part.node, *part.initializer, *part.value_info):
            field.ClearField("metadata_props")
            field.ClearField("doc_string")
        for value in (*part.input, *part.output):
            value.ClearField("metadata_props")
        stack += [a.g for node in part.node for a in node.attribute if a.HasField("g")]
    del graph.functions[:]


def _append(graph: Any, head: Any, output: str, kind: str) -> None:
    """Append skl2onnx's graph to the features."""
    import onnx

    make, nodes = onnx.helper.make_node, graph.graph.node
    made = onnx.compose.add_prefix(head, "head/")
    nodes.append(make("Identity", ["features"], [made.graph.input[0].name]))
    nodes.extend(made.graph.node)
    graph.graph.initializer.extend(made.graph.initializer)
    nodes.append(make("Identity", [f"head/{output}"], [kind]))


def _add_label(graph: Any, saved: Saved, kind: str) -> None:
    """Add an output for the predicted labels' positions, from the probabilities or scores."""
    import onnx

    name, nodes = saved.label_output, graph.graph.node
    if saved.task.has_one_class:
        nodes.append(onnx.helper.make_node("ArgMax", [kind], [name], axis=1, keepdims=0))
    elif saved.task.has_several_labels:
        value = np.array(0.5 if kind == "probabilities" else 0.0, np.float32)
        graph.graph.initializer.append(onnx.numpy_helper.from_array(value, "label/least"))
        nodes.append(onnx.helper.make_node("Greater", [kind, "label/least"], ["label/above"]))
        to = onnx.TensorProto.INT64
        nodes.append(onnx.helper.make_node("Cast", ["label/above"], [name], to=to))


def _name_outputs(graph: Any, saved: Saved, kind: str) -> None:
    import onnx

    n, proto = len(saved.names), onnx.TensorProto
    shape = ["n"] if saved.task.has_one_class else ["n", n]
    values = [onnx.helper.make_tensor_value_info(kind, proto.FLOAT, ["n", n])]
    if saved.label_output:
        label = onnx.helper.make_tensor_value_info(saved.label_output, proto.INT64, shape)
        values.insert(0, label)
    del graph.graph.output[:]
    graph.graph.output.extend(values)
    graph.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "n"
    # Shapes of inner values name the batch as torch did. A program that needs them infers them.
    del graph.graph.value_info[:]


# ---- metadata -----------------------------------------------------------------------


def _metadata(saved: Saved, kind: str) -> dict[str, Any]:
    meanings = {
        "probabilities": "float32 (n, names), in the order of names",
        "scores": "float32 (n, names), the larger the surer, no probabilities",
        "values": "float32 (n, names), in the order of names",
        "label": "int64 (n,), position in names",
        "labels": "int64 (n, names), 1 for each label that the image has",
    }
    written = [name for name in (saved.label_output, kind) if name]
    return metadata(saved, {name: meanings[name] for name in written})


def metadata(saved: Saved, outputs: dict[str, str]) -> dict[str, Any]:
    """Describe a model in values that JSON takes.

    Parameters
    ----------
    saved : Saved
        The model.
    outputs : dict of str to str
        Type and meaning of each output.
    """
    content, preprocess = saved.content, saved.model.backbone.preprocess
    return {
        "format": "transferkit-onnx",
        "version": FORMAT_VERSION,
        "task": saved.model.task,
        "names": saved.names,
        "input": {
            "name": "pixels",
            "type": "uint8",
            "shape": ["n", *preprocess.image_size, 3],
            "channels": "RGB",
            "normalised": "in the graph: (pixels / 255 - mean) / std",
        },
        "outputs": outputs,
        "preprocess": preprocess.to_dict() | {"steps": steps(saved)},
        "backbone": saved.model.backbone.architecture,
        "features": list(saved.model.features),
        "weights": content["weights"],
        "weights_licence": content.get("weights_licence"),
        "model_digest": content["digest"],
        "versions": content["versions"],
        "exported_with": {n: _version(n) for n in ("transferkit", "torch", "onnx", "skl2onnx")},
    }


def steps(saved: Saved) -> list[str]:
    """Describe in words how an image is made into the input."""
    p = saved.model.backbone.preprocess
    height, width = p.image_size
    target = [math.floor(side / p.crop_pct) for side in p.image_size]
    exif = "with" if p.exif else "without"
    resize = {
        "squash": f"resize to {target[0]} × {target[1]} px",
        "border": f"resize to fit into {target[0]} × {target[1]} px, keeping the aspect ratio",
        "center": f"resize to cover {target[0]} × {target[1]} px, keeping the aspect ratio",
    }[p.crop_mode]
    fill = "mean colour" if p.crop_mode == "border" else "black"
    return [
        f"decode to 8-bit RGB, transparency over white, {exif} the EXIF orientation",
        f"{resize}, {p.interpolation} with antialiasing, as PIL does it",
        f"take the centre, {height} × {width} px; fill what is missing with {fill}",
    ]


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


# ---- check --------------------------------------------------------------------------


def load(saved: Saved, path: Path) -> Predictor:
    """Make a function from pixels to the file's outputs, which runs ONNX Runtime on the CPU.

    Parameters
    ----------
    saved : Saved
        The model.
    path : Path
        The file.
    """
    onnxruntime = needed()[1]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(
        path.read_bytes(), options, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    return lambda pixels: dict(zip(names, session.run(names, {"pixels": pixels}), strict=True))
