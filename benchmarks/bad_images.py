"""300 good images beside each kind of bad one: what a run says, and what it keeps.

    PYTHONPATH=. python benchmarks/bad_images.py [--only NAME]

For every kind of ``tests/bad_pictures.py`` a folder (or, for what no folder lists, a table) of
300 good images of all formats and one bad one goes through ``transferkit extract`` with an empty
store. Right is: 300 rows, the one name with its reason, exit code 3; or, where the odd one can
be read after all, 301 rows and exit code 0. Each run may take 16 GB of addresses, of which the
libraries alone take some. Results: ``benchmarks/results/bad_images.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from PIL import Image

import transferkit.cli
import transferkit.estimators
from tests.bad_pictures import BAD, Bad
from tests.pictures import picture

RESULTS = Path(__file__).parent / "results" / "bad_images.json"
N_GOOD = 300
SUFFIXES = (".jpg", ".png", ".webp", ".gif", ".tif", ".bmp")
ADDRESSES = 16 * 2**30


def main() -> None:
    """Run all of them and write the results."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", help="One kind, by its name.")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        good = Path(folder) / "good"
        good.mkdir()
        for i in range(N_GOOD):
            path = good / f"{i:03}{SUFFIXES[i % len(SUFFIXES)]}"
            Image.fromarray(picture(i)).save(path)
        for name, bad in BAD.items():
            if options.only in (None, name):
                rows.append(one(name, bad, Path(folder)))
                print(line(rows[-1]), flush=True)
                if options.only is None:
                    facts = {"n_good": N_GOOD, "pillow": Image.__version__, "rows": rows}
                    text = json.dumps(facts, indent=1, ensure_ascii=False)
                    # Where it ran says nothing, and is another place each time.
                    RESULTS.write_text(text.replace(f"{folder}/", "") + "\n")
    wrong = [row["kind"] for row in rows if not row["right"]]
    print(f"{len(rows) - len(wrong)} of {len(rows)} are right{': not ' * bool(wrong)}", *wrong)
    sys.exit(bool(wrong))


def one(name: str, bad: Bad, folder: Path) -> dict[str, Any]:
    """One run."""
    images = folder / "images"
    # The good ones as links to the same bytes; the bad one stands in the middle of them.
    shutil.copytree(folder / "good", images, copy_function=os.link)
    path = images / f"150-bad{bad.suffix}"
    bad.write(path)
    source = images
    if not bad.is_listed:
        source = folder / "table.csv"
        names = sorted([path.name, *(file.name for file in (folder / "good").iterdir())])
        source.write_text("path\n" + "".join(f"images/{name}\n" for name in names))
    command = ["extract", str(source), "--json", "--quiet"]
    command += ["--backbone", "bundled:mobilenetv2_050_distilled", "--image-size", "64"]
    command += ["--store", str(folder / "store"), *bad.options]
    started = time.perf_counter()
    code, out, err, peak = run(command, folder)
    result = json.loads(out) if out.startswith("{") else {}
    failures = result.get("failures", [])
    row = {
        "kind": name,
        "exit": code,
        "rows": result.get("rows"),
        "failures": failures,
        "seconds": round(time.perf_counter() - started, 1),
        "peak_mb": peak,
        "stderr": err.strip().splitlines()[-3:],
    }
    row["right"] = is_right(row, bad, path.name)
    for made in (images, folder / "store"):
        shutil.rmtree(made, ignore_errors=True)
    return row


def run(arguments: list[str], folder: Path) -> tuple[int, str, str, int]:
    """Exit code, stdout, stderr and peak of memory (MB) of one command.

    In a fork, so that torch is imported once for all of them and what ends a process ends that
    one; this one never computes, so there is no thread that a fork would lose.
    """
    out, err = folder / "out", folder / "err"
    pid = os.fork()
    if not pid:
        for number, path in ((1, out), (2, err)):
            os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
        code = 70
        try:
            transferkit.cli.main(arguments)
        except SystemExit as stop:
            code = int(stop.code or 0)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    _, status, usage = os.wait4(pid, 0)
    peak = round(usage.ru_maxrss / 1024)
    return os.waitstatus_to_exitcode(status), out.read_text(), err.read_text(), peak


def is_right(row: dict[str, Any], bad: Bad, name: str) -> bool:
    """Whether it went as it should."""
    if not bad.reason:
        return row["exit"] == 0 and row["rows"] == N_GOOD + 1 and not row["failures"]
    if row["exit"] != 3 or row["rows"] != N_GOOD or len(row["failures"]) != 1:
        return False
    (failure,) = row["failures"]
    return failure["name"].endswith(name) and bool(re.search(bad.reason, failure["reason"]))


def line(row: dict[str, Any]) -> str:
    """One row of the table."""
    said = row["failures"][0]["reason"] if row["failures"] else "; ".join(row["stderr"])
    mark = "  " if row["right"] else "!!"
    numbers = f"exit {row['exit']}, {row['rows']} rows, {row['peak_mb']:5,} MB"
    return f"{mark} {row['kind']:32} {numbers}  {said or 'read'}"


if __name__ == "__main__":
    main()
