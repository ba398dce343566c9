"""All heads on the same frozen features: accuracy, seconds, size; and counting blood cells.

    TRANSFERKIT_DATA=FOLDER python benchmarks/heads_on_frozen_features.py

``FOLDER`` holds ``images/sign-digits`` (a folder per class), ``images/blood-cells`` (with
``counts.csv``: path, rbc, wbc, platelets, split) and ``weights/mobilenetv2_100.coral_in1k``
(timm's local-dir layout). Results: ``benchmarks/results/heads_on_frozen_features.json``.
"""

from __future__ import annotations

import csv
import json
import os
import platform
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results"


def sign_digits(extractor: Any, data: Path, folder: Path) -> dict[str, Any]:
    """Accuracy over five splits, median seconds, and size of the saved head, per head."""
    from sklearn.model_selection import train_test_split

    from transferkit import TransferClassifier, list_images
    from transferkit.heads import head_names

    images = list_images(data / "images/sign-digits")
    y = np.array(images.labels)
    X = extractor.transform(images)
    result = {}
    for name in head_names():
        scores, fit, predict = [], [], []
        for seed in range(5):
            train, test = train_test_split(
                range(len(y)), test_size=0.2, stratify=y, random_state=seed
            )
            head = TransferClassifier(extractor, name)
            parts = images.select(train), images.select(test)
            start = time.perf_counter()
            head.fit(parts[0], y[train])
            fit.append(time.perf_counter() - start)
            start = time.perf_counter()
            predicted = head.predict_features(X[test])
            predict.append(time.perf_counter() - start)
            scores.append(float((predicted == y[test]).mean()))
        model = head.save(folder / name, include_weights=False)
        result[name] = {
            "accuracy": statistics.mean(scores),
            "stdev": statistics.stdev(scores),
            "fit_s": statistics.median(fit),
            "predict_s": statistics.median(predict),
            "head_bytes": (model / "head.skops").stat().st_size,
        }
        r = result[name]
        print(
            f"{name:9} {100 * r['accuracy']:.2f} ± {100 * r['stdev']:.2f} %, "
            f"fit {r['fit_s']:.2f} s, predict {1000 * r['predict_s']:.1f} ms, "
            f"{r['head_bytes'] / 1e6:.2f} MB",
            flush=True,
        )
    return result


# The centre crop leaves out 43 % of a photo of 480 × 640 px, with the cells in it; and counting is
# about texture, which the early stages see.
WHOLE = {
    "features": "stage1.avg,stage2.avg,stage3.avg,stage4.avg,pre_logits",
    "crop_mode": "squash",
    "crop_pct": 1.0,
}


def blood_cells(extractor: Any, data: Path) -> dict[str, Any]:
    """Red cells per image by regression; platelets and white cells as two labels."""
    from sklearn.dummy import DummyRegressor

    from transferkit import TransferClassifier, TransferRegressor, list_images
    from transferkit.metrics import multilabel_report, regression_report

    table = data / "images/blood-cells/counts.csv"
    images = list_images(table, label_column="rbc")
    test = images.split("test")
    truth = np.array(test.labels, dtype=float)
    result: dict[str, Any] = {"red cells": {}, "platelets and white cells": {}}
    heads: dict[str, Any] = {"mean": DummyRegressor(), "ridge": "ridge", "boosting": "boosting"}
    for name, head in {**heads, "mlp": "mlp"}.items():
        model = TransferRegressor(extractor, head).fit(images)
        report = regression_report(truth, model.predict(test))
        result["red cells"][name] = {"r2": report.r2, "mae": report.mae, "rmse": report.rmse}
        print(f"red cells, {name:9} R² {report.r2:.3f}, MAE {report.mae:.2f}", flush=True)
    with table.open() as file:
        rows = list(csv.DictReader(file))
    present = np.array([[int(r[n]) > 0 for n in ("platelets", "wbc")] for r in rows], dtype=int)
    split = np.array(images.splits)
    train = np.flatnonzero(split != "test")
    for name in ("linear", "ridge", "forest", "knn", "mlp", "boosting"):
        model = TransferClassifier(extractor, name).fit(images.select(train), present[train])
        proba = model.predict_proba(test) if hasattr(model, "predict_proba") else None
        report = multilabel_report(
            present[split == "test"], model.predict(test), proba, ["platelets", "wbc"]
        )
        result["platelets and white cells"][name] = report.to_dict()
        aurocs = [row.auroc for row in report.labels]
        print(f"{name:9} mAP {report.mean_average_precision}, AUROC {aurocs}, "
              f"F1 {report.macro_f1:.3f}, exact {report.exact_match:.3f}", flush=True)  # fmt: skip
    shares = present[split == "test"].mean(axis=0).tolist()
    result["share of test images with"] = dict(zip(("platelets", "wbc"), shares, strict=True))
    return result


def main() -> None:
    """Run both and write the results."""
    from transferkit import FeatureExtractor

    data = Path(os.environ["TRANSFERKIT_DATA"])
    backbone = f"local-dir:{data}/weights/mobilenetv2_100.coral_in1k"
    with tempfile.TemporaryDirectory() as folder:
        store = os.environ.get("TRANSFERKIT_STORE", f"{folder}/store")
        extractor = FeatureExtractor(backbone, store=store)
        results = {
            "sign-digits": sign_digits(extractor, data, Path(folder)),
            "blood-cells, defaults": blood_cells(extractor, data),
            "blood-cells, whole image and all stages": blood_cells(
                FeatureExtractor(backbone, store=store, **WHOLE), data
            ),
            "machine": {
                "cpu": platform.processor() or platform.machine(),
                "cores": os.cpu_count(),
                "python": platform.python_version(),
            },
        }
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / "heads_on_frozen_features.json"
    path.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
