"""Folders of results with made rows, as a benchmark writes them, without any network."""

import numpy as np

from transferkit.benchmark import Results

CLASSES = ("cat", "dog", "<b>emu</b>")
BACKBONES = ("local-dir:/models/tiny", "resnet18", "vit")
N_TEST = 60

ABOUT = {
    "n_classes": len(CLASSES),
    "architecture": "timm:some",
    "weights": "sha256:0123456789abcdef",
    "kind": "head",
    "deviates": [],
    "image_size": [32, 32],
    "crop_pct": 1.0,
    "crop_mode": "center",
    "interpolation": "bicubic",
    "versions": {"transferkit": "0.1.0", "numpy": "2.0"},
    "machine": "x86_64, 1 threads",
    "date": "2026-01-02T03:04:05+00:00",
    "spec_key": "0" * 16,
    "auto": None,
    "n_val": 0,
    "n_test": N_TEST,
    "chosen": {},
    "on_edge": None,
    "converged": None,
    "fit_seconds": 0.5,
    "predict_seconds": 0.1,
    "extract_seconds": 2.0,
    "n_extracted": 100,
    "n_unreadable": 0,
}


def row(cell, **facts):
    """A row of classes; what is given replaces the rest."""
    return {
        "cell": cell,
        "status": "done",
        "dataset": "pets",
        "task": "classification",
        "backbone": BACKBONES[0],
        "probe": "linear",
        "feature": "pre_logits",
        "shots": None,
        "seed": 0,
        **ABOUT,
        "n_train": 30 if facts.get("shots") is None else 3 * facts["shots"],
        "n_features": 64,
        **facts,
    }


def failed(cell, **facts):
    """A row of a cell that could not be measured."""
    left_out = ("n_test", "n_features", "extract_seconds", "n_extracted", "fit_seconds", "auto")
    kept = {k: v for k, v in row(cell, **facts).items() if k not in left_out}
    return {**kept, "status": "failed", "error": "ValueError: 5 shots, but class <x> has 3"}


def add_classes(results, cell, share, *, has_answers=True, **facts):
    """Add a row of classes in which about a share of the test images is right."""
    rng = np.random.default_rng(sum(map(ord, cell)))
    true = np.arange(N_TEST) % len(CLASSES)
    wrong = rng.random(N_TEST) > share
    predicted = np.where(wrong, (true + 1) % len(CLASSES), true)
    right = (predicted == true).astype(np.float32)
    metrics = {
        "accuracy": float(right.mean()),
        "macro_f1": 0.5,
        "main": "accuracy",
        "interval": [float(right.mean()) - 0.1, float(right.mean()) + 0.1],
        "baseline": 1 / 3,
        "is_better": True,
        "ece": 0.05,
    }
    answers = {"true": true, "predicted": predicted, "classes": np.array(CLASSES)}
    results.add(row(cell, metrics=metrics, **facts), right, answers if has_answers else None)


def pets(folder, *, has_answers=True):
    """Three backbones, two probes, three numbers of shots, layers, and a cell that failed."""
    results = Results(folder)
    for i, backbone in enumerate(BACKBONES):
        for probe in ("linear", "knn"):
            for shots in (1, 5, None):
                share = 0.4 + 0.1 * i + (0.05 * shots if shots else 0.3)
                for seed in (0, 1):
                    facts = {"backbone": backbone, "probe": probe, "shots": shots, "seed": seed}
                    add_classes(
                        results,
                        f"{i}{probe}{shots}{seed}",
                        share,
                        has_answers=has_answers,
                        extract_seconds=1.0 + i,
                        n_features=32 * (3 - i),
                        **facts,
                    )
    for n, layer in enumerate(("stage0.avg", "stage1.avg", "stage10.avg")):
        add_classes(results, f"layer{n}", 0.4 + 0.1 * n, feature=layer, probe="ridge")
    results.add(failed("broken", shots=5))
    return results
