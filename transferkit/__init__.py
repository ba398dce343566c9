"""Transfer learning on frozen timm backbones: extract once, store safely, train any head."""

import importlib
from typing import Any

__version__ = "0.1.0"

# Loaded on first use (PEP 562), so that `import transferkit` costs nothing.
_PUBLIC = {
    "AnnotationSet": "annotations",
    "Annotations": "annotations",
    "AnomalyDetector": "estimators",
    "BackboneSpec": "spec",
    "FeatureExtractor": "estimators",
    "FeatureMaps": "maps",
    "FeatureSpec": "spec",
    "FeatureStore": "store",
    "FineTuneClassifier": "estimators",
    "FineTuneRegressor": "estimators",
    "FineTuneDetector": "estimators",
    "FineTuneInstanceSegmenter": "estimators",
    "FineTuneOrientedDetector": "estimators",
    "FineTuneSegmenter": "estimators",
    "ImageHead": "finetune.image_head",
    "ImageSet": "images",
    "Preprocess": "spec",
    "TransferClassifier": "estimators",
    "TransferRegressor": "estimators",
    "TransferDetector": "estimators",
    "TransferInstanceSegmenter": "estimators",
    "TransferOrientedDetector": "estimators",
    "TransferSegmenter": "estimators",
    "UnreadableImages": "images",
    "create_backbone": "backbones",
    "list_images": "images",
    "read_annotations": "annotations",
}

__all__ = [*sorted(_PUBLIC), "__version__"]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(f"{__name__}.{_PUBLIC[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *_PUBLIC]
