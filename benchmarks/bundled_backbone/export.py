"""Write the averaged weights of a run as float16 safetensors, with their model card.

    TRANSFERKIT_DATA=FOLDER python benchmarks/bundled_backbone/export.py --run RUN

``--results results.json`` adds measured results to the card once there are any.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import timm
import torch
from images import load_photos
from safetensors.torch import save_file
from train import ARGUMENTS, STUDENT

NAME = "mobilenetv2_050_distilled"
WEIGHTS = Path(__file__).parents[2] / "transferkit" / "backbones" / "weights"
SIZE = 128


def half(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Float16 but for batch-norm variances that float16 would flush or overflow."""
    result = {}
    for name, value in state.items():
        rounded = value.half() if value.is_floating_point() else value
        safe = rounded.isfinite().all() and not ((rounded == 0) & (value != 0)).any()
        if name.endswith("running_var") and (value.min() < 6.2e-5 or not safe):
            rounded = value  # below float16's normal range its relative error is unbounded
        result[name] = rounded.contiguous()
    return result


def rounding_error(state: dict[str, torch.Tensor], stored: dict[str, torch.Tensor]) -> float:
    """Largest relative change of a feature row by the rounding, on noise and flat images."""
    torch.manual_seed(0)
    small = torch.rand(16, 3, 16, 16)
    images = torch.nn.functional.interpolate(small, size=SIZE, mode="bicubic") * 2 - 1
    rows = []
    for weights in (
        state,
        {k: v.float() if v.is_floating_point() else v for k, v in stored.items()},
    ):
        network = timm.create_model(STUDENT, **ARGUMENTS).eval()
        network.load_state_dict(weights)
        with torch.inference_mode():
            rows.append(network(images))
    return float(((rows[0] - rows[1]).norm(dim=1) / rows[0].norm(dim=1)).max())


def card(run: Path, results: dict[str, Any], error: float, digest: str) -> dict[str, Any]:
    """The model card."""
    photos = load_photos(Path(os.environ["TRANSFERKIT_DATA"]))
    checkpoint = torch.load(run / "checkpoint.pt", weights_only=True)
    step, seen, teacher_images = checkpoint["counts"]
    options = (run / "options.json").read_text()
    return {
        "name": NAME,
        "architecture": STUDENT,
        "arguments": ARGUMENTS,
        "input_size": [3, SIZE, SIZE],
        "mean": [0.5, 0.5, 0.5],
        "std": [0.5, 0.5, 0.5],
        "interpolation": "bicubic",
        "crop_pct": 1.0,
        "crop_mode": "center",
        "features": "pre_logits, 1280",
        "weights_sha256": digest,
        "storage": "float16, exponential moving average of the weights",
        "rounding_error": error,
        "licence": "Apache-2.0, as the teacher's weights that it was cut from and distilled from",
        "teacher": {
            "name": "mobilenetv2_100.coral_in1k",
            "origin": "google-coral/test_data, MobileNetV2 1.0 trained on ImageNet-1k",
            "licence": "Apache-2.0",
            "use": "start weights (pruned, refitted) and targets of the distillation",
        },
        "training_data": [
            {
                "name": p.name,
                "licence": p.licence,
                "attribution": p.attribution,
                "sha256": p.sha256,
            }
            for p in photos
        ]
        + [{"name": "procedural images (procedural.py)", "licence": "none needed: generated"}],
        "training": {
            "steps": step,
            "images_seen": seen,
            "teacher_images": teacher_images,
            "hours": round(checkpoint["seconds"] / 3600, 3),
            "machine": "one core of a 2-core x86-64 CPU, no GPU",
            "options": {k: v for k, v in json.loads(options).items() if k != "out"},
            "history": results.get("recipe", {}).get("history", "one part"),
        },
        "results": results.get("evaluation", {}),
        "known_limits": [
            "For trying things out, tests and demonstrations; real pretrained weights do better.",
            "Start weights were cut from the teacher, which saw ImageNet; the training after that "
            "saw crops of 17 photographs and procedural images only.",
            "On natural photographs far behind mobilenetv2_035 trained on ImageNet; on 8 x 8 "
            "digits no better than logistic regression on raw pixels (see results).",
            "Made for 128 px; other sizes run, but were not measured.",
        ],
    }


def main() -> None:
    """Export."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--run", type=Path, required=True, help="folder of the checkpoint")
    parser.add_argument("--results", type=Path, help="results.json, for the card")
    options = parser.parse_args()
    state = torch.load(options.run / "checkpoint.pt", weights_only=True)["average"]
    stored = half(state)
    error = rounding_error(state, stored)
    WEIGHTS.mkdir(parents=True, exist_ok=True)
    path = WEIGHTS / f"{NAME}.safetensors"
    temporary = path.with_suffix(".tmp")
    save_file(stored, temporary)
    temporary.replace(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    results = json.loads(options.results.read_text()) if options.results else {}
    text = json.dumps(card(options.run, results, error, digest), indent=2, ensure_ascii=False)
    path.with_suffix(".json").write_text(text + "\n")
    kept = sum(v.dtype == torch.float32 for v in stored.values())
    print(
        f"{path.name}: {path.stat().st_size:,} bytes, {kept} tensors in float32, error {error:.1e}"
    )


if __name__ == "__main__":
    main()
