"""Every detection head on every family of backbones, with random weights.

    PYTHONPATH=. python benchmarks/detection_table.py [--heads fcos] [--backbones resnet18]

For each of them a detector is fitted to the stored maps of some pictures of coloured rectangles,
learns one batch for some steps more, predicts for pictures of other sizes, is saved, loaded and,
for some of them, exported. Right is: every parameter has a gradient, the loss falls, boxes are
finite and inside of their pictures, the loaded model predicts the same, and ONNX Runtime gives
torch's boxes to 0.01 px.
What is refused is written down with the sentence that refuses it; anything else that goes wrong
ends the run with 1. Results: ``benchmarks/results/`` with ``detection_table.json`` and
``detection_table.md``.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from transferkit.annotations import Annotations, AnnotationSet
from transferkit.dense.detection import detection_heads
from transferkit.dense.targets import object_target
from transferkit.estimators import FeatureExtractor, TransferDetector
from transferkit.export import export_model

RESULTS = Path(__file__).parent / "results"
BACKBONES = (
    "resnet18",
    "mobilenetv3_small_100",
    "efficientnet_b0",
    "regnetx_002",
    "densenet121",
    "vgg11",
    "inception_v3",
    "convnext_atto",
    "swin_tiny_patch4_window7_224",
    "hrnet_w18_small",
    "hiera_tiny_224",
    "vit_tiny_patch16_224",
    "vit_small_patch14_dinov2",
)
# Exporting takes as long as all the rest: with these every head is exported, with each of the
# others one head, in turn.
EXPORTED = ("resnet18", "swin_tiny_patch4_window7_224", "vit_tiny_patch16_224")
SIZE, SIZE_OF_PATCH_14 = (128, 160), (126, 154)  # Inception takes 75 px or more
N_IMAGES, N_BATCH, N_STEPS, N_CLASSES = 8, 4, 12, 3
OTHER_SIZES = ((97, 161), (200, 120), (128, 160))
TOLERANCE = 0.01  # px


def main() -> None:
    """Run all of them and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--backbones", nargs="+", default=BACKBONES)
    parser.add_argument("--heads", nargs="+", default=detection_heads())
    parser.add_argument("--export-all", action="store_true", help="Export every head with all.")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # of torch's exporter
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        for i, name in enumerate(options.backbones):
            extractor = extractor_of(name, Path(folder) / "store")
            for j, head in enumerate(options.heads):
                is_its_turn = (i - j) % len(options.heads) == 0
                with_export = options.export_all or name in EXPORTED or is_its_turn
                began = time.process_time()
                row = one(extractor, head, Path(folder), with_export=with_export)
                row["cpu_seconds"] = round(time.process_time() - began, 1)
                rows.append({"backbone": name, "head": head, **row})
                print(json.dumps(rows[-1], ensure_ascii=False), flush=True)
    if all(getattr(options, word) == parser.get_default(word) for word in ("backbones", "heads")):
        facts = {"torch": torch.__version__, "image": SIZE, "steps": N_STEPS}
        text = json.dumps({**facts, "rows": rows}, indent=1, ensure_ascii=False)
        (RESULTS / "detection_table.json").write_text(text + "\n", encoding="utf-8")
        (RESULTS / "detection_table.md").write_text(markdown(rows), encoding="utf-8")
    counts = {w: sum(r["result"] == w for r in rows) for w in ("right", "refused", "wrong")}
    print(", ".join(f"{n} {word}" for word, n in counts.items()))
    sys.exit(counts["wrong"] > 0)


def extractor_of(name: str, store: Path) -> FeatureExtractor:
    """Frozen network of random weights, whose maps all heads share."""
    size = SIZE_OF_PATCH_14 if "patch14" in name else SIZE
    return FeatureExtractor(
        name,
        pretrained=False,
        image_size=size,
        crop_mode="squash",
        crop_pct=1.0,
        store=store,
        # Behind Inception's random weights, which no one trains on, values are beyond float16.
        storage="float32" if name == "inception_v3" else "float16",
    )


def pictures(
    sizes: list[tuple[int, int]], seed: int = 0
) -> tuple[list[np.ndarray], list[Annotations]]:
    """Noise with a few rectangles of the colour of their class, and where they are."""
    rng = np.random.default_rng(seed)
    images, truths = [], []
    for height, width in sizes:
        image = rng.integers(0, 80, (height, width, 3), dtype=np.uint8)
        boxes, labels = [], rng.integers(1, N_CLASSES, 4)
        # From large to small, so that anchors of every size have an object.
        for label, share in zip(labels, (0.95, 0.55, 0.3, 0.14), strict=True):
            w, h = (int(side * share * rng.uniform(0.7, 1)) for side in (width, height))
            x, y = rng.integers(0, width - w), rng.integers(0, height - h)
            image[y : y + h, x : x + w, label - 1] = rng.integers(180, 255)
            boxes.append((x, y, x + w, y + h))
        images.append(image)
        truths.append(Annotations((height, width), boxes=np.array(boxes, float), labels=labels))
    return images, truths


def one(
    extractor: FeatureExtractor, head: str, folder: Path, *, with_export: bool
) -> dict[str, Any]:
    """Train, predict, save, load and export one of them."""
    torch.manual_seed(0)
    images, truths = pictures([SIZE] * N_IMAGES)
    classes = ["background", *(f"colour {i}" for i in range(1, N_CLASSES))]
    detector = TransferDetector(extractor, head, recipe={"epochs": 2})
    try:
        detector.fit(images, AnnotationSet(classes, truths))
        row = learnt(detector, images, truths)
        row |= predicted(detector, folder / "model")
        if with_export:
            row |= exported(folder / "model", folder / "model.onnx")
    except Exception as error:  # whatever it is, the others go on
        kind = "refused" if type(error) is ValueError else "wrong"
        return {"result": kind, "sentence": f"{type(error).__name__}: {error}"[:400]}
    right = not row["without_gradient"] and row["losses"][1] < row["losses"][0]
    right = right and row["is_sensible"] and row["is_same_when_loaded"]
    right = right and row.get("onnx_px", 0.0) <= TOLERANCE
    return {"result": "right" if right else "wrong", **row}


def learnt(
    detector: TransferDetector, images: list[np.ndarray], truths: list[Annotations]
) -> dict[str, Any]:
    """Let it learn one batch."""
    network = detector.network_.train()
    maps = detector.maps(images[:N_BATCH], is_training=True)
    (_, levels), *_ = maps.batches()
    size = detector.input_size_
    targets = [
        object_target(truth, frame, size)
        for truth, frame in zip(truths[:N_BATCH], maps.frames, strict=True)
    ]
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    losses, seconds = [], []
    moved = {name: False for name, _ in network.named_parameters()}
    for _ in range(N_STEPS):
        began = time.perf_counter()
        loss = network(levels, size, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(round(float(loss.detach()), 4))
        seconds.append(time.perf_counter() - began)
        for name, parameter in network.named_parameters():
            moved[name] |= parameter.grad is not None and bool(parameter.grad.abs().sum() > 0)
    network.eval()
    return {
        "parameters": sum(p.numel() for p in network.parameters()),
        "ms_per_image": round(1000 * statistics.median(seconds[1:]) / N_BATCH, 1),
        "losses": [losses[0], losses[-1]],
        "without_gradient": [name for name, has_moved in moved.items() if not has_moved],
    }


def predicted(detector: TransferDetector, path: Path) -> dict[str, Any]:
    """Boxes in pictures of other sizes, before and after it was saved and loaded."""
    images, _ = pictures(list(OTHER_SIZES), seed=1)
    found = detector.predict(images)
    detector.save(path, overwrite=True)
    again = TransferDetector.load(path, store=detector.extractor_.store).predict(images)
    return {
        "n_boxes": [len(one.boxes) for one in found],
        "is_sensible": all(is_sensible(*pair) for pair in zip(found, images, strict=True)),
        "is_same_when_loaded": all(
            np.array_equal(getattr(a, name), getattr(b, name))
            for a, b in zip(found, again, strict=True)
            for name in ("boxes", "scores", "labels")
        ),
    }


def is_sensible(found: Annotations, image: np.ndarray) -> bool:
    """Whether boxes are inside of the picture and have a class of an object."""
    height, width = image.shape[:2]
    boxes = found.boxes
    is_inside = (boxes >= 0).all() and (boxes <= [width, height, width, height]).all()
    is_object = ((found.labels > 0) & (found.labels < N_CLASSES)).all()
    is_sure = ((found.scores > 0) & (found.scores <= 1)).all()
    return bool(np.isfinite(boxes).all() and is_inside and is_object and is_sure)


def exported(path: Path, file: Path) -> dict[str, Any]:
    """Largest difference of ONNX Runtime's boxes on parts of photographs, px."""
    check = export_model(path, file, overwrite=True, tolerance=float("inf")).check
    return {"onnx_px": float(f"{check.difference:.2g}"), "onnx_same": [check.n_same, check.n]}


def markdown(rows: list[dict[str, Any]]) -> str:
    """A table of results, one of costs, and the sentences of what isn't right."""
    names = {word: list(dict.fromkeys(r[word] for r in rows)) for word in ("backbone", "head")}
    results = {(r["backbone"], r["head"]): r for r in rows}
    notes: dict[str, int] = {}
    exported_rows = [r for r in rows if "onnx_px" in r]
    lines = [
        "# Detection heads × backbones",
        "",
        f"Random weights, {N_IMAGES} pictures of {SIZE[0]} × {SIZE[1]} px. A cell tells the "
        f"loss of one batch before and after {N_STEPS} steps, and the largest difference of ONNX "
        "Runtime's boxes, px; every parameter has a gradient, and the loaded model predicts the "
        "same.",
        "",
        "| backbone | " + " | ".join(names["head"]) + " |",
        "|---" * (len(names["head"]) + 1) + "|",
    ]
    for backbone in names["backbone"]:
        cells = [_cell(results[backbone, head], notes) for head in names["head"]]
        lines.append(f"| {backbone} | " + " | ".join(cells) + " |")
    lines += ["", *(f"{number}. {sentence}" for sentence, number in notes.items())]
    if exported_rows:
        same, n = (sum(r["onnx_same"][i] for r in exported_rows) for i in (0, 1))
        lines.append(
            f"\n{len(exported_rows)} pairs exported; the same boxes on {same} of {n} pictures."
        )
    first = names["backbone"][0]
    costs = [results[first, head] for head in names["head"]]
    texts = [
        f"{c['parameters'] / 1000:.0f} k, {c['ms_per_image']} ms" if "losses" in c else "–"
        for c in costs
    ]
    lines += [
        "",
        f"Cost on {first}: thousands of parameters, and ms an image for a step.",
        "",
        "| " + " | ".join(names["head"]) + " |",
        "|---" * len(names["head"]) + "|",
        "| " + " | ".join(texts) + " |",
    ]
    return "\n".join(lines) + "\n"


def _cell(row: dict[str, Any], notes: dict[str, int]) -> str:
    if "losses" not in row:
        return f"{row['result']} [{notes.setdefault(row['sentence'], len(notes) + 1)}]"
    mark = "" if row["result"] == "right" else " WRONG"
    onnx = f", {row['onnx_px']:.0e} px" if "onnx_px" in row else ""
    return f"{row['losses'][0]:.2f} → {row['losses'][1]:.2f}{onnx}{mark}"


if __name__ == "__main__":
    main()
