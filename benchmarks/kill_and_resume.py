"""SIGKILL an extraction at random moments, resume, compare with an undisturbed run.

    TRANSFERKIT_DATA=FOLDER python benchmarks/kill_and_resume.py [--kills 20]

``FOLDER`` as for ``main_job.py``. Each round starts ``transferkit extract`` over all of
sign-digits and kills it at a random moment; then a last run completes the store. The rows
must be bitwise those of an undisturbed run with the same settings, and no round may have
lost more than the shard in hand. Results: ``benchmarks/results/kill_and_resume.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

RESULTS = Path(__file__).parent / "results"


def main() -> None:
    """Run it and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    from transferkit import FeatureExtractor, FeatureStore, list_images

    data = Path(os.environ["TRANSFERKIT_DATA"])
    name = f"local-dir:{data}/weights/mobilenetv2_100.coral_in1k"
    images = list_images(data / "images/sign-digits")
    draw = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        killed, calm = FeatureStore(Path(folder) / "killed"), FeatureStore(Path(folder) / "calm")
        command = [sys.executable, "-m", "transferkit", "extract", str(data / "images/sign-digits")]
        command += ["--backbone", name, "--store", str(killed.path), "--quiet"]
        rounds: list[dict[str, Any]] = []
        kills = n_rows = 0
        while kills < options.kills or n_rows == 0:  # what is resumed at last is half done
            # Importing takes about 6 s; a shard is written every 10 s: kills fall everywhere.
            seconds = draw.uniform(4, 36)
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
            try:
                process.wait(seconds)
                finished = True
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                finished = False
            keys = killed.list_keys()
            n_rows = keys[0].n_rows if keys else 0
            faults = killed.verify()
            leftovers = len([p for p in killed.path.rglob("*") if p.name.startswith(".")])
            rounds.append(
                {
                    "killed_after_s": None if finished else round(seconds, 2),
                    "rows": n_rows,
                    "faults": len(faults),
                    "leftover_files": leftovers,
                }
            )
            print(rounds[-1], flush=True)
            kills += not finished
            if finished:  # everything is there: begin anew, so that every kill meets work
                subprocess.run(["rm", "-rf", str(killed.path)], check=True)
        start = time.perf_counter()
        resumed = FeatureExtractor(name, store=killed).extract(images)
        print(f"resumed: {resumed.summary()}")
        undisturbed = FeatureExtractor(name, store=calm).extract(images)
        print(f"undisturbed: {undisturbed.summary()}")
        same = np.array_equal(
            resumed.rows["pre_logits"].view(np.uint32),
            undisturbed.rows["pre_logits"].view(np.uint32),
        )
        result = {
            "kills": kills,
            "faults": sum(r["faults"] for r in rounds),
            "bitwise_equal": bool(same),
            "rows": len(resumed.kept),
            "seconds": round(time.perf_counter() - start, 1),
            "rounds": rounds,
        }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "kill_and_resume.json").write_text(json.dumps(result, indent=2) + "\n")
    print({k: v for k, v in result.items() if k != "rounds"})


if __name__ == "__main__":
    main()
