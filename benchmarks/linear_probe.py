"""What `transferkit benchmark` shows on real photos: leaderboards, a kill, layers, protocols.

    TRANSFERKIT_DATA=FOLDER python benchmarks/linear_probe.py [--out FILE]

1. six backbones on sign-digits, three protocols, few shots; wall time with the store as it is
2. each protocol against its plain second implementation: the largest difference of scores
3. the same run killed half-way and run again: which cells ran twice
4. layer by layer: which stage and pooling wins, for pretrained and for random weights
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
SHOTS = "1,5,10,full"
PROTOCOLS = "transfer-logreg,dino-knn20,bigvision-fewshot"
LAYERS = [
    f"{name}.{p}" for name in (*(f"stage{i}" for i in range(5)), "final") for p in ("avg", "max")
]


def command(data: Path, backbones: list[str], out: Path, *options: str) -> list[str]:
    """Arguments of the command line."""
    images = str(data / "images" / "sign-digits")
    start = [sys.executable, "-m", "transferkit", "benchmark", images, "--json", "--out", str(out)]
    return [*start, "--backbones", ",".join(backbones), *options]


def timed(arguments: list[str]) -> tuple[dict, float]:
    """What a command prints, and its wall time in seconds."""
    start = time.perf_counter()
    done = subprocess.run(arguments, check=True, capture_output=True, text=True)
    return json.loads(done.stdout), round(time.perf_counter() - start, 1)


def killed(arguments: list[str], out: Path, n_cells: int) -> dict:
    """Kill the run once half of its cells are done, then let it finish."""
    lines = out / "rows.jsonl"
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        if lines.exists() and lines.read_bytes().count(b"\n") >= n_cells // 2:
            process.send_signal(signal.SIGKILL)
            process.wait()
        time.sleep(0.05)
    before = lines.read_bytes().count(b"\n")
    counts = timed(arguments)[0]["cells"]
    cells = [json.loads(line)["cell"] for line in lines.read_text().splitlines() if line]
    return {
        "killed_after": before,
        "exit_code": process.returncode,
        "second_run": counts,
        "ran_twice": len(cells) - len(set(cells)),
    }


def differences() -> dict[str, float]:
    """Scores of each protocol and of its plain implementation, less what all classes share."""
    sys.path.insert(0, str(ROOT))
    from tests.protocols.plain import PLAIN
    from tests.protocols.test_golden import both, centred

    return {
        name: float(np.abs(centred(ours) - centred(plain)).max())
        for name in PLAIN
        for _, ours, plain, _ in [both(name)]
    }


def main() -> None:
    """Measure all and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks/results/linear_probe.json")
    options = parser.parse_args()
    data = Path(os.environ["TRANSFERKIT_DATA"])
    names = ["mobilenetv2_100.coral_in1k", "mobilenetv2_035.keras_in1k"]
    trained = [*(f"local-dir:{data}/weights/{name}" for name in names), "bundled"]
    six = [*trained, *(f"{name}@random" for name in trained)]
    with tempfile.TemporaryDirectory() as folder:
        grid = ("--protocols", PROTOCOLS, "--shots", SHOTS)
        found, seconds = timed(command(data, six, Path(folder, "a"), *grid))
        out = Path(folder, "b")
        resumed = killed(command(data, six, out, *grid), out, sum(found["cells"].values()))
        pair = [six[0], six[3]]
        layer_options = ("--features", ",".join(LAYERS), "--seeds", "1")
        layers, _ = timed(command(data, pair, Path(folder, "c"), *layer_options))
        auto_options = ("--features", "auto", "--seeds", "1")
        auto, _ = timed(command(data, pair, Path(folder, "d"), *auto_options))
    result = {
        "seconds": seconds,
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "cells": found["cells"],
        "boards": found["boards"],
        "resumed": resumed,
        "layers": layers["boards"][0]["places"],
        "auto": auto["boards"][0]["places"],
        "largest_difference": differences(),
    }
    text = json.dumps(result, indent=1, ensure_ascii=False)
    options.out.write_text(text.replace(str(data) + "/weights/", "") + "\n")
    print(
        json.dumps({k: result[k] for k in ("seconds", "resumed", "largest_difference")}, indent=1)
    )


if __name__ == "__main__":
    main()
