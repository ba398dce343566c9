"""Measured images of every task, made without a network."""

import numpy as np

from tests.pictures import picture
from transferkit.images import list_images
from transferkit.metrics import (
    predicted_classes,
    predicted_labels,
    predicted_numbers,
    report_of,
)
from transferkit.report.model.judged_images import JudgedImages

CONTENT = {
    "task": "classification",
    "architecture": "timm:test_resnet",
    "weights": "random:0",
    "backbone": {
        "arguments": {},
        "preprocess": {
            "image_size": [64, 64],
            "interpolation": "bilinear",
            "crop_pct": 1.0,
            "crop_mode": "center",
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
        },
    },
    "features": ["final.avg"],
    "precision": "float32",
    "storage": "float32",
    "head": {
        "type": "transferkit.heads.linear.LinearClassifier",
        "parameters": {"C": "auto"},
        "chosen": {"C": 0.5},
    },
    "n_train": 120,
    "versions": {"transferkit": "0.1.0"},
    "facts": {"data": {"images": "made"}},
}


def images_of(n, names=None):
    items = [picture(i % 20, (24, 32)) for i in range(n)]
    listed = list_images(items)
    return listed if names is None else type(listed)(listed.items, tuple(names))


def classified(n=60, labels=("a", "b", "c"), seed=0, names=None, has_proba=True):
    """Images of which most are classified right."""
    rng = np.random.default_rng(seed)
    scores = rng.normal(size=(n, len(labels)))
    true = rng.integers(0, len(labels), n)
    scores[np.arange(n), true] += 1.5
    proba = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    known = np.array(labels, dtype=object)
    y, said = known[true], known[proba.argmax(axis=1)]
    p = proba if has_proba else None
    report = report_of("classification", y, said, p, known)
    X = scores @ rng.normal(size=(len(labels), 12))
    found = predicted_classes(y, said, p, known)
    return JudgedImages(images_of(n, names), X, found, report)


def labelled(n=50, labels=("red", "round"), seed=0):
    """Images of several labels."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, 2, (n, len(labels)))
    proba = np.clip(0.5 + 0.3 * (2 * true - 1) + 0.3 * rng.normal(size=true.shape), 0.01, 0.99)
    said = (proba > 0.5).astype(int)
    report = report_of("multilabel", true, said, proba, labels)
    X = rng.normal(size=(n, 6))
    return JudgedImages(images_of(n), X, predicted_labels(true, said, proba, labels), report)


def numbered(n=40, names=("age",), seed=0):
    """Images with numbers."""
    rng = np.random.default_rng(seed)
    true = rng.normal(size=(n, len(names))) * 10
    said = true + rng.normal(size=true.shape)
    report = report_of("regression", true, said, None, names)
    X = rng.normal(size=(n, 6))
    return JudgedImages(images_of(n), X, predicted_numbers(true, said, names), report)
