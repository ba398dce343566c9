"""Every neck with every segmentation head on every family of backbones, with random weights.

    PYTHONPATH=. python benchmarks/dense_table.py [--onnx resnet18 vit_tiny_patch16_224]

For each of them a neck and a head learn for some steps from the maps of a frozen network, and
predict for images of an odd size. Right is: every parameter has a gradient, the loss falls, and
the scores are finite and of the image's size. A pair that is refused is written down with the
sentence that refuses it; anything else that goes wrong ends the run with 1. For the backbones of
``--onnx`` neck and head are exported, and right is then that onnxruntime's scores are torch's to
1e-4 of the largest. Results: ``benchmarks/results/`` with ``dense_table.json`` and
``dense_table.md``.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate

from transferkit.backbones import create_backbone
from transferkit.dense.pyramid import pyramid_layers, pyramid_neck
from transferkit.dense.segmentation import create_segmentation_head, segmentation_heads
from transferkit.maps import FeatureMaps
from transferkit.necks import Neck, neck_names

RESULTS = Path(__file__).parent / "results"
BACKBONES = (
    "resnet18",
    "mobilenetv3_small_100",
    "efficientnet_b0",
    "convnext_atto",
    "swin_tiny_patch4_window7_224",
    "vgg11",
    "densenet121",
    "inception_v3",
    "vit_tiny_patch16_224",
    "beit_base_patch16_224",
    "vit_tiny_r_s16_p8_224",
)
SIZE, ODD = (96, 128), (107, 139)  # Inception takes 75 px or more
N_IMAGES, N_CLASSES, N_STEPS = 2, 5, 8
WIDTH = 32


def main() -> None:
    """Run all of them and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbones", nargs="+", default=BACKBONES)
    parser.add_argument("--necks", nargs="+", default=neck_names())
    parser.add_argument("--heads", nargs="+", default=segmentation_heads())
    parser.add_argument("--onnx", nargs="+", default=[], help="Backbones to export for.")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for name in options.backbones:
        levels = Levels(name)
        for neck in options.necks:
            for head in options.heads:
                row = one(levels, neck, head, with_onnx=name in options.onnx)
                rows.append({"backbone": name, "neck": neck, "head": head, **row})
        print(name, summary([r for r in rows if r["backbone"] == name]), flush=True)
    chosen = ("backbones", "necks", "heads")
    is_whole = all(getattr(options, word) == parser.get_default(word) for word in chosen)
    if is_whole:
        facts = {"torch": torch.__version__, "image": SIZE, "odd": ODD, "width": WIDTH}
        text = json.dumps({**facts, "rows": rows}, indent=1, ensure_ascii=False)
        (RESULTS / "dense_table.json").write_text(text + "\n", encoding="utf-8")
        (RESULTS / "dense_table.md").write_text(markdown(rows), encoding="utf-8")
    print(summary(rows))
    sys.exit(any(row["result"] == "wrong" for row in rows))


class Levels:
    """A backbone's pyramid of random images, of the usual size and of an odd one."""

    def __init__(self, name: str) -> None:
        torch.manual_seed(0)
        self.refusal = ""
        self.usual = self._maps(name, SIZE)
        try:
            self.odd = self._maps(name, ODD)
        except ValueError as error:  # its input is then of the usual size, its images are not
            self.odd, self.refusal = self.usual, str(error)

    def _maps(self, name: str, size: tuple[int, int]) -> FeatureMaps:
        backbone = create_backbone(name, pretrained=False, image_size=size)
        chosen = pyramid_layers(backbone.layers)
        self.channels = [backbone.channels[layer] for layer in chosen]
        self.strides = [backbone.strides[layer] for layer in chosen]
        with torch.no_grad():
            maps = backbone(torch.randn(N_IMAGES, 3, *size), chosen)
        # Values are in the billions behind Inception's random weights, which no one trains on.
        scaled = {name: level / level.std() for name, level in maps.maps.items()}
        return FeatureMaps(scaled, maps.strides)


class NeckAndHead(nn.Module):
    """From the levels as tensors, as an exporter wants them, to scores."""

    def __init__(self, neck: Neck, head: nn.Module, maps: FeatureMaps) -> None:
        super().__init__()
        self.neck, self.head, self.names = neck, head, list(maps.maps)
        self.strides = dict(maps.strides)

    def forward(self, *levels: Tensor) -> Tensor:
        """Scores of the classes."""
        maps = FeatureMaps(dict(zip(self.names, levels, strict=True)), self.strides)
        scores = self.head(self.neck(maps))
        assert isinstance(scores, Tensor)
        return scores


def one(levels: Levels, neck_name: str, head_name: str, *, with_onnx: bool) -> dict[str, Any]:
    """Train, predict and export one of them."""
    torch.manual_seed(0)
    options = {} if neck_name == "none" else {"width": WIDTH}
    try:
        neck = pyramid_neck(neck_name, levels.channels, levels.strides, **options)
        head = create_segmentation_head(head_name, neck.out_channels, neck.strides, N_CLASSES)
    except ValueError as error:
        return {"result": "refused", "sentence": str(error)}
    network = NeckAndHead(neck, head, levels.usual)
    try:
        row = trained(network, levels.usual) | predicted(network, levels.odd)
        if with_onnx:
            row |= exported(network.eval(), levels.usual)
    except Exception as error:  # whatever it is, the others go on
        return {"result": "wrong", "sentence": f"{type(error).__name__}: {error}"[:300]}
    if levels.refusal:
        row["odd_input"] = levels.refusal
    right = not row["without_gradient"] and row["losses"][1] < row["losses"][0] and row["is_sized"]
    right = right and row.get("onnx_difference", 0) < 1e-4
    return {"result": "right" if right else "wrong", **row}


def trained(network: nn.Module, maps: FeatureMaps) -> dict[str, Any]:
    """Let it learn one batch."""
    network.train()
    truth = torch.randint(N_CLASSES, (N_IMAGES, *SIZE))
    truth[:, : SIZE[0] // 2] = 0  # there is something to learn
    optimizer = torch.optim.AdamW(network.parameters(), lr=5e-4)
    losses, seconds = [], []
    for _ in range(N_STEPS):
        began = time.perf_counter()
        scores = network(*maps.maps.values())
        loss = cross_entropy(interpolate(scores, SIZE, mode="bilinear"), truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(round(float(loss.detach()), 4))
        seconds.append(time.perf_counter() - began)
    dead = [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().sum()]
    return {
        "parameters": sum(p.numel() for p in network.parameters()),
        "ms_per_image": round(1000 * statistics.median(seconds[1:]) / N_IMAGES, 1),
        "losses": [losses[0], losses[-1]],
        "without_gradient": dead,
    }


@torch.no_grad()
def predicted(network: nn.Module, maps: FeatureMaps) -> dict[str, Any]:
    """Classes of the pixels of one image of an odd size."""
    network.eval()
    scores = network(*(level[:1] for level in maps.maps.values()))
    finest = next(iter(maps.maps.values())).shape[-2:]
    classes = interpolate(scores, ODD, mode="bilinear").argmax(1)
    is_fine = all(s >= f for s, f in zip(scores.shape[-2:], finest, strict=True))
    is_sized = scores.shape[:2] == (1, N_CLASSES) and classes.shape == (1, *ODD) and is_fine
    return {"is_sized": bool(is_sized and torch.isfinite(scores).all()), "scores": scores.shape[2:]}


def exported(network: nn.Module, maps: FeatureMaps) -> dict[str, Any]:
    """Largest difference of onnxruntime's scores, in units of torch's largest score."""
    import onnxruntime

    levels = tuple(maps.maps.values())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(network, levels, dynamo=True, verbose=False)
    file = io.BytesIO()
    program.save(file)
    session = onnxruntime.InferenceSession(file.getvalue())
    names = [value.name for value in session.get_inputs()]
    given = {n: level.numpy() for n, level in zip(names, levels, strict=True)}
    with torch.no_grad():
        expected = network(*levels)
    difference = (torch.from_numpy(session.run(None, given)[0]) - expected).abs().max()
    return {"onnx_difference": float(difference / expected.abs().max())}


def summary(rows: list[dict[str, Any]]) -> str:
    """How many are right, refused and wrong, and what is wrong."""
    counts = {w: sum(r["result"] == w for r in rows) for w in ("right", "refused", "wrong")}
    wrong = [f"{r['neck']}+{r['head']}: {r}" for r in rows if r["result"] == "wrong"]
    return " ".join([", ".join(f"{n} {word}" for word, n in counts.items()), *wrong])


def markdown(rows: list[dict[str, Any]]) -> str:
    """A table of results, one of costs, and the sentences of what is refused."""
    names = {w: list(dict.fromkeys(r[w] for r in rows)) for w in ("backbone", "neck", "head")}
    results = {(r["backbone"], r["neck"], r["head"]): r for r in rows}
    # Sentences that differ in their numbers alone are one.
    notes: dict[str, int] = {}
    lines = [
        "# Necks × segmentation heads × backbones",
        "",
        f"Random weights, {N_STEPS} steps on {N_IMAGES} images of {SIZE[0]} × {SIZE[1]} px, width "
        f"{WIDTH}, predictions of {ODD[0]} × {ODD[1]} px. A cell names the heads that are right "
        "with the neck; a number points to the sentence that refuses.",
        "",
        "| backbone | " + " | ".join(names["neck"]) + " |",
        "|---" * (len(names["neck"]) + 1) + "|",
    ]
    for backbone in names["backbone"]:
        cells = []
        for neck in names["neck"]:
            by_head = {h: results[backbone, neck, h] for h in names["head"]}
            cells.append(_cell(by_head, notes))
        odd = results[backbone, names["neck"][0], names["head"][0]].get("odd_input")
        mark = f" [{notes.setdefault(odd, len(notes) + 1)}]" if odd else ""
        lines.append(f"| {backbone}{mark} | " + " | ".join(cells) + " |")
    lines += ["", *(f"{number}. {sentence}" for sentence, number in notes.items())]
    differences: dict[str, list[float]] = {
        r["backbone"]: [] for r in rows if "onnx_difference" in r
    }
    for row in rows:
        if "onnx_difference" in row:
            differences[row["backbone"]].append(row["onnx_difference"])
    lines += [
        f"\nExported to ONNX with {name}: {len(found)} pairs, at most {max(found):.0e} from torch."
        for name, found in differences.items()
    ]
    first = names["backbone"][0]
    lines += [
        "",
        f"Cost on {first}: thousands of parameters, and ms an image for a step.",
        "",
        "| neck | " + " | ".join(names["head"]) + " |",
        "|---" * (len(names["head"]) + 1) + "|",
    ]
    for neck in names["neck"]:
        costs = [results[first, neck, head] for head in names["head"]]
        texts = [
            f"{c['parameters'] / 1000:.0f} k, {c['ms_per_image']} ms" if "losses" in c else "–"
            for c in costs
        ]
        lines.append(f"| {neck} | " + " | ".join(texts) + " |")
    return "\n".join(lines) + "\n"


def _cell(results: dict[str, dict[str, Any]], notes: dict[str, int]) -> str:
    right = [head for head, row in results.items() if row["result"] == "right"]
    parts = ["all" if len(right) == len(results) else ", ".join(right)] if right else []
    for head, row in results.items():
        if row["result"] != "right":
            text = row.get("sentence", "WRONG")
            is_alone = len({r.get("sentence") for r in results.values()}) == 1
            number = notes.setdefault(text, len(notes) + 1)
            parts.append(f"[{number}]" if is_alone else f"{head} [{number}]")
    return ", ".join(dict.fromkeys(parts))


if __name__ == "__main__":
    main()
