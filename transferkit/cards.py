"""Model cards: a trained model described in Markdown, from the values in its model.json."""

from __future__ import annotations

import importlib.metadata
import json
import math
import platform
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from transferkit.spec import BackboneSpec
from transferkit.tasks import Task, task_of
from transferkit.tasks import dense as dense_tasks

__all__ = ["head_facts", "input_of", "model_card", "versions", "weights_licence"]

# Licences that the hub knows, and so the only ones that a card's metadata may name.
_HUB_LICENCES = ("apache-2.0", "mit", "bsd-3-clause", "cc-by-4.0", "cc-by-nc-4.0", "cc0-1.0")
_CHOSEN = ("C_", "C_on_edge_", "alpha_", "alpha_on_edge_", "converged_", "n_iter_", "n_epochs_")
_SHOWN_NAMES = 200
_DISTRIBUTIONS = ("torch", "timm", "scikit-learn", "numpy")


# ---- what a card is told ------------------------------------------------------------


def weights_licence(spec: BackboneSpec) -> str:
    """Licence of a backbone's weights, as their source states it.

    Parameters
    ----------
    spec : BackboneSpec
        The backbone.

    Returns
    -------
    str
        The licence, or in words why there is none to name.
    """
    if spec.is_random:
        return "none needed: the weights are random"
    if known := spec.loading.get("licence"):
        return str(known)
    stated = spec.loading.get("pretrained_cfg", {}).get("license")
    if spec.loading.get("weights_given") or not stated:
        return "not stated by their source; ask before you pass them on"
    return str(stated)


def head_facts(head: Any) -> dict[str, Any]:
    """A fitted head's type, its parameters, and what it chose by itself.

    Parameters
    ----------
    head : estimator
        Fitted.

    Returns
    -------
    dict
        Values that JSON takes.

    Examples
    --------
    >>> from transferkit.heads import create_head
    >>> head_facts(create_head("centroid"))["parameters"]
    {'center': True, 'temperature': 0.05}
    """
    parameters = head.get_params(deep=False) if hasattr(head, "get_params") else {}
    return {
        "type": f"{type(head).__module__}.{type(head).__qualname__}",
        "parameters": {name: _plain(value) for name, value in sorted(parameters.items())},
        "chosen": {
            name.removesuffix("_"): _plain(getattr(head, name))
            for name in _CHOSEN
            if isinstance(getattr(head, name, None), int | float | bool)
        },
    }


def _plain(value: Any) -> Any:
    """Convert a value for JSON. Long texts are cut, and no object's address in memory is shown."""
    if isinstance(value, np.generic):
        value = value.item()
    is_finite = not isinstance(value, float) or math.isfinite(value)  # JSON knows no NaN
    if (value is None or isinstance(value, bool | int | float | str)) and is_finite:
        return value
    text = re.sub(r" at 0x[0-9a-f]+", "", " ".join(repr(value).split()))
    return text if len(text) <= 80 else f"{text[:79]}…"


def versions() -> dict[str, str]:
    """Versions of Python, of this package and of those that decide its numbers."""
    from transferkit import __version__

    version_of = {name: importlib.metadata.version(name) for name in _DISTRIBUTIONS}
    return {"transferkit": __version__, "python": platform.python_version(), **version_of}


# ---- the card -----------------------------------------------------------------------


def model_card(
    content: Mapping[str, Any], *, library: str | None = None, use: str | None = None
) -> str:
    """Card of a model, from the values of its model.json alone.

    No path stands in it, but a name that the user gave to data or recipe.

    Parameters
    ----------
    content : mapping
        What model.json holds.
    library : str, optional
        For a card on the hub: the library that loads the model there. The card then begins
        with the metadata that the hub reads.
    use : str, optional
        How the model is used, instead of how transferkit loads its folder.

    Returns
    -------
    str
        Markdown.
    """
    front = () if library is None else _front(content, library)
    use = _use(content) if use is None else use
    lines = [*front, *_summary(content), "## Use", "", use, "", *_names(content), *_data(content)]
    lines += [*_metrics(content), *_recipe(content), *_versions(content), *_licence(content)]
    # A name that isn't UTF-8 must not cost the card, nor the model that it is saved with.
    text = "\n".join(lines).rstrip() + "\n"
    return text.encode("utf-8", "backslashreplace").decode()


def _front(content: Mapping[str, Any], library: str) -> Iterator[str]:
    licence = str(content.get("weights_licence", ""))
    yield from ("---", f"library_name: {library}")
    if licence.lower() in _HUB_LICENCES:
        yield f"license: {licence.lower()}"
    if hub_task := _task(content).hub_task:
        yield f"pipeline_tag: {hub_task}"
    yield from ("tags:", f"- {library}", "- transferkit", "- transfer-learning", "---", "")


def _summary(content: Mapping[str, Any]) -> Iterator[str]:
    architecture = _architecture(content)
    head = _head_name(content)
    n, summary = len(_told_classes(content)), _task(content).summary
    kind = (summary.replace("{n} classes", "one class") if n == 1 else summary).format(n=n)
    features = ", ".join(_code(name) for name in content["features"])
    made = content["versions"].get("transferkit", "")
    yield from (f"# {head} on {architecture}", "")
    yield f"{kind}: a {_code(head)} head on {features} of the backbone {_code(architecture)},"
    yield from (f"trained with transferkit {made}.", "")


def _use(content: Mapping[str, Any]) -> str:
    kind = _task(content).estimator
    lines = (
        "```python",
        f"from transferkit import {kind}",
        "",
        f'model = {kind}.load("MODEL")  # this folder',
        'print(model.predict("IMAGES"))',
        "```",
    )
    return "\n".join(lines)


def _names(content: Mapping[str, Any]) -> Iterator[str]:
    names = _told_classes(content)
    more = len(names) - _SHOWN_NAMES
    shown = ", ".join(_code(name) for name in names[:_SHOWN_NAMES])
    yield from (f"## {_task(content).outputs.capitalize()}", "")
    yield from (shown + (f" and {more:,} more" if more > 0 else ""), "")


def _data(content: Mapping[str, Any]) -> Iterator[str]:
    yield from ("## Data", "", f"- trained on: {content['n_train']:,} images")
    yield from _bullets(content.get("facts", {}).get("data", {}))
    digest = content["files"].get("train_ids.safetensors", "unknown")
    yield from (f"- SHA-256 of the training images' row ids: `{digest}`", "")


def _metrics(content: Mapping[str, Any]) -> Iterator[str]:
    rows = content.get("facts", {}).get("metrics", ())
    yield from ("## Metrics", "")
    if not rows:
        yield from ("Not measured on images that were held out.", "")
        return
    has_baseline = any(row.get("baseline") is not None for row in rows)
    yield "| metric | value | 95 % interval | " + "baseline | " * has_baseline + "images |"
    yield "|---|---|---|---|" + "---|" * has_baseline
    for row in rows:
        both = row.get("low") is not None and row.get("high") is not None
        both = both and row["low"] < row["high"]  # draws that are all alike tell nothing
        interval = f"{row['low']:.4g} to {row['high']:.4g}" if both else "unknown"
        baseline = row.get("baseline")
        worth = ("unknown" if baseline is None else f"{baseline:.4g}") + " | "
        cells = f"| {_cell(row['name'])} | {row['value']:.4g} | {interval} | "
        yield cells + worth * has_baseline + f"{row['n']:,} |"
    # In k-fold measuring, each fold's model is measured on images that it wasn't trained on.
    note = (
        "Intervals: bootstrap over these images; none was trained on by the model measured on it."
    )
    yield from ("", note, "")
    verdict = content.get("facts", {}).get("baseline", {}).get("verdict")
    if verdict:
        yield from (f"Baseline, which looks at no image: {_code(verdict)}.", "")


def input_of(preprocess: Mapping[str, Any]) -> str:
    """Describe a backbone's input.

    Parameters
    ----------
    preprocess : mapping
        Of model.json: the fields of a `Preprocess`.
    """
    height, width = preprocess["image_size"]
    geometry = (
        f"{height} × {width} px, {preprocess['interpolation']}, crop {preprocess['crop_pct']} "
        f"({preprocess['crop_mode']})"
    )
    n_channels, bands = len(preprocess["mean"]), preprocess.get("bands")
    pixels = "RGB" if n_channels == 3 else f"{n_channels} channel{'s' * (n_channels != 1)}"
    if bands:
        pixels += f", bands {', '.join(map(str, bands))}"
    if values := preprocess.get("value_range"):
        pixels += f", values {values[0]:g} to {values[1]:g}"
    if preprocess.get("window"):
        pixels += ", values in the file's window"
    if preprocess.get("layout", "HWC") != "HWC":
        pixels += ", channels first"
    return f"{pixels}, {geometry}"


def _recipe(content: Mapping[str, Any]) -> Iterator[str]:
    preprocess, head = content["backbone"]["preprocess"], content["head"]
    yield from ("## Recipe", "")
    yield from _bullets(
        {
            "backbone": _architecture(content),
            "arguments": json.dumps(content["backbone"]["arguments"]),
            "weights": content["weights"],
            "input": input_of(preprocess),
            "mean": json.dumps(preprocess["mean"]),
            "std": json.dumps(preprocess["std"]),
            "precision": f"{content['precision']}, features stored as {content['storage']}",
            "head": head["type"],
        }
    )
    yield from _bullets(head.get("parameters", {}) | head.get("arguments", {}))
    yield from _bullets({f"{name} (chosen)": v for name, v in head.get("chosen", {}).items()})
    yield from _bullets(content.get("facts", {}).get("recipe", {}))
    yield ""


def _versions(content: Mapping[str, Any]) -> Iterator[str]:
    pairs = ", ".join(f"{name} {version}" for name, version in content["versions"].items())
    yield from ("## Versions", "", pairs, "")


def _licence(content: Mapping[str, Any]) -> Iterator[str]:
    yield from ("## Licence", "")
    yield f"Licence of the backbone's weights: {content.get('weights_licence', 'unknown')}."
    yield "Whoever owns the training images says what holds for them and for what was learnt."


def _bullets(values: Mapping[str, Any]) -> Iterator[str]:
    for name, value in values.items():
        yield f"- {name}: {_code(value) if isinstance(value, str) else json.dumps(value)}"


def _task(content: Mapping[str, Any]) -> Task | dense_tasks.DenseTask:
    name = content["task"]
    return dense_tasks.dense_task_of(name) if name in dense_tasks.names() else task_of(name)


def _told_classes(content: Mapping[str, Any]) -> list[Any]:
    first: int = getattr(_task(content), "first_class", 0)
    return list(content["classes"][first:])


def _architecture(content: Mapping[str, Any]) -> str:
    return str(content.get("architecture", "unknown")).partition(":")[2] or "unknown"


def _head_name(content: Mapping[str, Any]) -> str:
    module, _, kind = content["head"]["type"].rpartition(".")
    ours = module.startswith("transferkit.heads.")
    return str(module.rpartition(".")[2] if ours else kind)


def _code(value: Any) -> str:
    """A name as the user wrote it, whatever characters Markdown would read."""
    text = " ".join(str(value).split())
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{fence}{pad}{text}{pad}{fence}" if text else "(empty)"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
