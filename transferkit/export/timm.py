"""Export to a folder that ``timm.create_model("local-dir:…")`` loads, also from the hub.

``config.json`` (architecture, classes, preprocessing), ``model.safetensors`` (all weights,
the head in the place of the network's own classifier) and ``README.md`` (the card).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from transferkit.backbones import Backbone, build_backbone, create_backbone, resolve_backbone
from transferkit.backbones.timm import preprocess_config
from transferkit.cards import model_card
from transferkit.export._check import Predictor
from transferkit.export._refusal import head_name
from transferkit.export._saved import Saved
from transferkit.export.heads import convert, linear_map
from transferkit.forward import Forward
from transferkit.pooling import parse_feature
from transferkit.spec import BackboneSpec

__all__ = ["SUFFIX", "load", "write"]

SUFFIX = "-timm"
# What a network's own configuration keeps, whatever it was trained on.
_KEPT = ("first_conv", "classifier", "fixed_input_size", "license")


# ---- write --------------------------------------------------------------------------


def write(saved: Saved, path: Path) -> None:
    """Write the folder.

    Parameters
    ----------
    saved : Saved
        The model.
    path : Path
        The folder.

    Raises
    ------
    ValueError
        If timm can't express the model.
    """
    spec = saved.model.backbone
    coef, intercept = _linear(saved)
    # The same architecture with this number of outputs, because it knows where its classifier is.
    arguments = dict(spec.arguments) | {"num_classes": len(coef)}
    twin = create_backbone(spec.architecture, pretrained=False, **arguments)
    cfg = dict(twin.spec.loading["pretrained_cfg"])
    tensors = _tensors(build_backbone(spec), twin, cfg.get("classifier"), coef, intercept)
    path.mkdir()
    save_file(tensors, path / "model.safetensors", metadata={"format": "pt"})
    config = _config(saved, cfg, arguments, twin.channels["pre_logits"])
    text = json.dumps(config, indent=2, ensure_ascii=False)
    (path / "config.json").write_text(text + "\n", encoding="utf-8")
    card = model_card(saved.content, library="timm", use=_use(saved))
    (path / "README.md").write_text(card, encoding="utf-8")


def _linear(saved: Saved) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients of the head, with a row for each of the network's outputs."""
    spec, features = saved.model.backbone, list(map(str, saved.features))
    if spec.source != "timm":
        raise ValueError(
            f"backbone {spec.name!r} is none of timm's, so timm can't load it; export the model "
            f"for ONNX (--format onnx)"
        )
    if features != ["pre_logits"]:
        raise ValueError(
            f"the head was trained on {', '.join(features)}, and timm's classifier stands on "
            f"pre_logits; train one on these, or export the model for ONNX (--format onnx)"
        )
    coef_and_intercept = linear_map(saved.model.head)
    if coef_and_intercept is None:
        raise ValueError(
            f"head {head_name(saved.model.head)!r} isn't linear, and timm's classifier is; train "
            f"linear, ridge, lda or svm (kernel='linear'), or export the model for ONNX (--format "
            f"onnx)"
        )
    coef, intercept = coef_and_intercept
    if saved.task.has_one_class and len(coef) == 1:
        coef = np.concatenate([np.zeros_like(coef), coef])
        intercept = np.concatenate([np.zeros_like(intercept), intercept])
    return coef, intercept


def _tensors(
    backbone: Backbone, twin: Backbone, classifier: Any, coef: np.ndarray, intercept: np.ndarray
) -> dict[str, torch.Tensor]:
    """All weights of the network, with the head's in the place of its classifier's."""
    known, wanted = _state(backbone), _state(twin)
    head = {f"{classifier}.weight": coef, f"{classifier}.bias": intercept}
    others = {name for name in wanted if name not in head}
    if not isinstance(classifier, str) or not head.keys() <= wanted.keys() or others - known.keys():
        raise ValueError(
            f"backbone {backbone.spec.architecture!r} has no single linear classifier that a head "
            f"could replace; export the model for ONNX (--format onnx)"
        )
    tensors = {name: known[name].contiguous().clone() for name in others}
    for name, values in head.items():  # some classifiers are convolutions of one pixel
        shape = wanted[name].shape
        tensors[name] = torch.tensor(values, dtype=wanted[name].dtype).reshape(shape).contiguous()
    return {name: tensors[name] for name in wanted}


def _state(backbone: Backbone) -> dict[str, torch.Tensor]:
    network = backbone.network.network
    assert isinstance(network, torch.nn.Module)
    return network.state_dict()


def _config(
    saved: Saved, cfg: Mapping[str, Any], arguments: Mapping[str, Any], width: int
) -> dict[str, Any]:
    spec, content = saved.model.backbone, saved.content
    own = spec.loading["pretrained_cfg"]
    kept = {name: cfg[name] for name in _KEPT if cfg.get(name) is not None}
    kept.pop("license", None)  # of the architecture's default weights, not of these
    if own.get("license") and not spec.loading.get("weights_given"):
        kept["license"] = own["license"]
    return {
        "architecture": spec.architecture,
        "num_classes": arguments["num_classes"],
        "num_features": width,
        "label_names": [str(name) for name in saved.names],
        "model_args": {k: v for k, v in arguments.items() if k != "num_classes"},
        "pretrained_cfg": {
            "tag": "transferkit",
            "custom_load": False,
            **preprocess_config(spec.preprocess),
            "num_classes": arguments["num_classes"],
            **kept,
        },
        "transferkit": {
            "task": saved.task.name,
            "outputs": _meaning(saved),
            "backbone_weights": content["weights"],
            "model_digest": content["digest"],
            "versions": content["versions"],
        },
    }


def _meaning(saved: Saved) -> str:
    kind = _kind(saved)
    if kind == "values":
        return "values, one output per target"
    if kind == "scores":
        above = "above 0 means yes" if saved.task.has_several_labels else "the largest wins"
        return f"scores, {above}; no probabilities"
    function = saved.task.activation
    return f"logits, of which {function} makes probabilities"


def _kind(saved: Saved) -> str:
    head = convert(saved.model.head, saved.task)
    assert head is not None
    return head.kind


def _use(saved: Saved) -> str:
    lines = (
        "```python",
        "import timm",
        "",
        'network = timm.create_model("hf-hub:ORG/NAME", pretrained=True).eval()',
        "config = timm.data.resolve_model_data_config(network)",
        "transform = timm.data.create_transform(**config, is_training=False)",
        "outputs = network(transform(image)[None])  # image: PIL, in mode RGB",
        "```",
        "",
        f"Outputs: {_meaning(saved)}. Their names: `label_names` in `config.json`.",
    )
    return "\n".join(lines)


# ---- check --------------------------------------------------------------------------


def load(saved: Saved, path: Path) -> Predictor:
    """Make a function from pixels to predictions, by the network that timm builds.

    Parameters
    ----------
    saved : Saved
        The model.
    path : Path
        The folder.
    """
    spec: BackboneSpec = resolve_backbone(f"local-dir:{path}")
    forward = Forward(spec, [parse_feature("logits")], device="cpu")
    kind, name = _kind(saved), saved.label_output

    def predict(pixels: np.ndarray) -> dict[str, np.ndarray]:
        logits = torch.from_numpy(forward.rows(pixels)["logits"])
        if kind == "probabilities":
            is_several = saved.task.has_several_labels
            logits = logits.sigmoid() if is_several else logits.softmax(dim=1)
        outputs = {kind: logits.numpy()}
        return outputs | ({name: saved.labels_of(kind, outputs[kind])} if name else {})

    return predict
