"""Measure the bundled backbone against random weights, raw pixels and a real pretrained one.

    TRANSFERKIT_DATA=FOLDER python benchmarks/bundled_backbone/evaluate.py --out results.json

Adds ``evaluation`` to the JSON file. None of these images was trained on.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from PIL import Image
from safetensors.torch import load_file
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression, RidgeCV
from sklearn.metrics import r2_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from transferkit.heads import create_head

WEIGHTS = Path(__file__).parents[2] / "transferkit" / "backbones" / "weights"
NAME = "mobilenetv2_050_distilled"
TEACHER = "mobilenetv2_100.coral_in1k"
YARDSTICK = "mobilenetv2_035.keras_in1k"

Pictures = Sequence[Image.Image | Path]


def card_of(name: str) -> dict[str, Any]:
    """The model card beside the weights."""
    return json.loads((WEIGHTS / f"{name}.json").read_text())


def load(subject: str, data: Path) -> tuple[nn.Module, dict[str, Any]]:
    """A network in eval mode and the arguments of its transform."""
    if subject in ("bundled", "random"):
        card = card_of(NAME)
        torch.manual_seed(0)
        network = timm.create_model(card["architecture"], **card["arguments"])
        if subject == "bundled":
            stored = load_file(WEIGHTS / f"{NAME}.safetensors")
            network.load_state_dict(
                {k: v.float() if v.is_floating_point() else v for k, v in stored.items()}
            )
        keys = ("input_size", "mean", "std", "interpolation", "crop_pct", "crop_mode")
        return network.eval(), {key: card[key] for key in keys}
    name = f"local-dir:{data / 'weights' / subject}"
    network = timm.create_model(name, pretrained=True).eval()
    return network, timm.data.resolve_model_data_config(network)


def features(
    subject: str, data: Path, pictures: Pictures, *, crop_pct: float | None = None
) -> np.ndarray:
    """``pre_logits`` of pictures, ``(n, d)``, through the backbone's own transform."""
    network, config = load(subject, data)
    if crop_pct is not None:
        config = {**config, "crop_pct": crop_pct}
    transform = timm.data.create_transform(**config)
    rows = []
    with torch.inference_mode():
        for start in range(0, len(pictures), 32):
            batch = []
            for picture in pictures[start : start + 32]:
                image = Image.open(picture) if isinstance(picture, Path) else picture
                batch.append(transform(image.convert("RGB")))
            maps = network.forward_features(torch.stack(batch))
            rows.append(network.forward_head(maps, pre_logits=True).numpy())
    return np.concatenate(rows)


def raw_pixels(pictures: Pictures) -> np.ndarray:
    """Grey or RGB values at 32 × 32 px, ``(n, 3072)`` in [0, 1]."""
    rows = []
    for picture in pictures:
        image = Image.open(picture) if isinstance(picture, Path) else picture
        small = image.convert("RGB").resize((32, 32), Image.Resampling.BICUBIC)
        rows.append(np.asarray(small, dtype=np.float32).ravel() / 255)
    return np.stack(rows)


def digits() -> tuple[Pictures, np.ndarray]:
    """scikit-learn's 8 × 8 digits as grey pictures."""
    x, y = load_digits(return_X_y=True)
    pixels = np.round(x.reshape(-1, 8, 8) * 255 / 16).astype(np.uint8)
    return [Image.fromarray(p) for p in pixels], y


def sign_digits(data: Path) -> tuple[Pictures, np.ndarray]:
    """Photos of hands that sign 0 to 9."""
    files = sorted((data / "images" / "sign-digits").glob("*/*"))
    return files, np.array([file.parent.name for file in files])


def accuracies(x: np.ndarray, y: np.ndarray, head: object) -> dict[str, Any]:
    """Test accuracy over five splits."""
    scores = []
    for seed in range(5):
        train, test = train_test_split(
            np.arange(len(y)), test_size=0.2, stratify=y, random_state=seed
        )
        model = create_head(head)
        scores.append(float(model.fit(x[train], y[train]).score(x[test], y[test])))
    return {
        "mean": round(statistics.mean(scores), 4),
        "stdev": round(statistics.stdev(scores), 4),
        "seeds": [round(s, 4) for s in scores],
    }


def classification(data: Path, pictures: Pictures, y: np.ndarray) -> dict[str, Any]:
    """Linear probes on each subject's features, logistic regression on raw pixels."""
    result = {}
    for subject in ("bundled", "random", YARDSTICK):
        result[subject] = accuracies(features(subject, data, pictures), y, "linear")
    plain = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    result["raw 32x32 pixels, LogisticRegression"] = accuracies(raw_pixels(pictures), y, plain)
    return result


def counting(data: Path) -> dict[str, float]:
    """R² of red-cell counts on the test split, ridge fitted on train and val."""
    folder = data / "images" / "blood-cells"
    with (folder / "counts.csv").open() as file:
        table = list(csv.DictReader(file))
    y = np.array([float(row["rbc"]) for row in table])
    is_test = np.array([row["split"] == "test" for row in table])
    pictures = [folder / row["path"] for row in table]
    inputs = {s: features(s, data, pictures) for s in ("bundled", "random", YARDSTICK)}
    inputs["raw 32x32 pixels"] = raw_pixels(pictures)
    result = {}
    for subject, x in inputs.items():
        model = create_head("ridge", "regression").fit(x[~is_test], y[~is_test])
        result[subject] = round(float(r2_score(y[is_test], model.predict(x[is_test]))), 4)
    return result


def neighbours(x: np.ndarray, n: int) -> np.ndarray:
    """Indices of the ``n`` nearest rows by cosine, nearest first, ``(rows, n)``."""
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    similarity = x @ x.T
    np.fill_diagonal(similarity, -np.inf)
    return np.argsort(-similarity, axis=1)[:, :n]


def photographs(data: Path) -> dict[str, dict[str, float]]:
    """How much of the teacher's features each subject's hold, on natural photographs."""
    files = sorted((data / "images" / "photos-192").iterdir())
    target = features(TEACHER, data, files, crop_pct=1.0)
    near = neighbours(target, 10)
    first = np.arange(len(files)) % 2 == 0
    result = {}
    for subject in ("bundled", "random", YARDSTICK):
        x = features(subject, data, files, crop_pct=1.0)
        model = make_pipeline(StandardScaler(), RidgeCV(np.logspace(1, 6, 16)))
        predicted = model.fit(x[first], target[first]).predict(x[~first])
        ours = neighbours(x, 10)
        overlap = [len(set(a) & set(b)) / 10 for a, b in zip(ours, near, strict=True)]
        result[subject] = {
            "ridge_r2": round(float(r2_score(target[~first], predicted)), 4),
            "ten_neighbours_shared": round(float(np.mean(overlap)), 4),
            "same_nearest": round(float(np.mean(ours[:, 0] == near[:, 0])), 4),
        }
    return result


def main() -> None:
    """Measure everything, print and write it."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results.json")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    data = Path(os.environ["TRANSFERKIT_DATA"])
    evaluation: dict[str, Any] = {"weights_sha256": card_of(NAME)["weights_sha256"]}
    jobs = {
        "digits": lambda: classification(data, *digits()),
        "sign-digits": lambda: classification(data, *sign_digits(data)),
        "blood-cells, R² of red-cell counts": lambda: counting(data),
        "photos-192, agreement with the teacher": lambda: photographs(data),
    }
    for name, job in jobs.items():
        evaluation[name] = job()
        print(name, json.dumps(evaluation[name], indent=1, ensure_ascii=False), flush=True)
    written = json.loads(options.out.read_text()) if options.out.exists() else {}
    written["evaluation"] = evaluation
    options.out.write_text(json.dumps(written, indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
