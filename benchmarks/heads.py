"""Heads against what people train on frozen features today, side by side in one run.

    TRANSFERKIT_DATA=FOLDER python benchmarks/heads.py [digits] [quick] [radial] [memory] ...

``FOLDER`` holds ``images/sign-digits`` (a folder per class) and
``weights/mobilenetv2_100.coral_in1k`` (timm's local-dir layout). Seven views of each photo
(crops, mirror images, rotations) make 14,434 rows; all views of a photo stay on one side of
a split. Times are CPU seconds of one thread. Those of logistic regression take turns at every
value of C, so that other work on the machine weighs on all of them alike; the other heads are
measured once, one after the other. Each part's results
replace its entry in ``benchmarks/results/heads.json``; the picture is drawn of all of them.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from heads_data import sign_digits, synthetic
from heads_large import many_classes, memory
from heads_linear import COLD_EVERY, CS, single, sweep
from heads_others import quick, radial, trained, trees
from heads_picture import draw

RESULTS = Path(__file__).parent / "results"

PARTS: dict[str, Callable[[], Any]] = {
    "digits": lambda: sweep(sign_digits(), CS),
    "digits, one C": lambda: [single(sign_digits(), C) for C in (1e-3, 1e-1)],
    "quick": lambda: quick(sign_digits()),
    "radial": lambda: radial(sign_digits()),
    "trained": lambda: trained(sign_digits()),
    "trees": lambda: trees(sign_digits()),
    "memory": memory,
    "5k x 768 x 37": lambda: sweep(synthetic(5000, 768, 37), CS),
    "50k x 2048 x 100, one C": lambda: single(synthetic(50_000, 2048, 100), 1e-3, 1, ()),
    "100k x 1024 x 1000": many_classes,
}


def main() -> None:
    """Measure the parts named on the command line, or all; ``picture`` only draws."""
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    # Memory comes first: what other parts have freed would hide its peak.
    names = sorted(sys.argv[1:] or PARTS, key=lambda name: name != "memory")
    names = [name for name in names if name != "picture"]
    path = RESULTS / "heads.json"
    RESULTS.mkdir(exist_ok=True)
    with threadpool_limits(1):
        for name in names:
            print(f"== {name}", flush=True)
            found = PARTS[name]()
            results = json.loads(path.read_text()) if path.exists() else {}
            results[name] = found
            results["machine"] = {
                "cpu": platform.processor() or platform.machine(),
                "threads": 1,
                "seconds": "CPU time of the process; logistic regressions in turns",
                "cold loop": f"every {COLD_EVERY}th value measured, the rest extrapolated",
                "products": str(_products()),
                "load average at the end": {
                    **results.get("machine", {}).get("load average at the end", {}),
                    name: round(os.getloadavg()[0], 1),
                },
            }
            path.write_text(json.dumps(results, indent=2) + "\n")
    draw(json.loads(path.read_text()), RESULTS / "heads.png")


def _products() -> Any:
    import torch

    from transferkit.solvers.objective import quick_dtype

    return quick_dtype(torch.device("cpu"))


if __name__ == "__main__":
    main()
