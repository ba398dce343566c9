"""Small pictures of two kinds of rectangles, and an extractor for models that learn them."""

import json

import numpy as np
import onnxruntime

from transferkit.annotations import Annotations
from transferkit.estimators import FeatureExtractor
from transferkit.images import oriented_of_corners

SIZE = 64
# A short training that finds the rectangles.
RECIPE = {"epochs": 12, "zoomed": False, "mirrored": False}


def scenes(n=12):
    """Bright rectangles on noise, and what they are: two classes by colour."""
    rng = np.random.default_rng(0)
    images, truth = rng.integers(0, 60, (n, SIZE, SIZE, 3), dtype=np.uint8), []
    for i, image in enumerate(images):
        x, y = rng.integers(0, 24, 2).tolist()
        label = 1 + i % 2
        mask = np.zeros((SIZE, SIZE), dtype=bool)
        mask[y : y + 32, x : x + 24] = True
        image[mask, label] = 255
        box = np.array([[x, y, x + 24, y + 32]], dtype=float)
        one = Annotations(
            (SIZE, SIZE),
            boxes=box,
            masks=mask[None],
            oriented=oriented_of_corners(box[:, [[0, 1], [2, 1], [2, 3], [0, 3]]]),
            labels=np.array([label]),
        )
        truth.append(one)
    return images, truth


def small_extractor():
    """An extractor of a small network with random weights."""
    return FeatureExtractor(
        "test_resnet",
        pretrained=False,
        image_size=SIZE,
        crop_mode="squash",
        crop_pct=1.0,
        store=False,
    )


def outputs_of(path):
    """What an ONNX file tells of itself, and a function from pixels to its outputs."""
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    meta = json.loads(session.get_modelmeta().custom_metadata_map["transferkit"])
    return meta, lambda pixels: dict(
        zip(names, session.run(names, {"pixels": pixels}), strict=True)
    )
