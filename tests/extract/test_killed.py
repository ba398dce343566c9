"""A run killed at any moment loses little and spoils nothing."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.pictures import write_pictures
from transferkit.backbones import resolve_backbone
from transferkit.extract import extract
from transferkit.images import list_images
from transferkit.store import FeatureStore

pytestmark = pytest.mark.kills

# A fork extracts, at each "go": torch is imported once for all rounds. The parent never
# computes, so there is no thread that a fork would lose; and it asks for the fork's fate only
# at "reap", so that until then no other process can have that pid.
SCRIPT = """
import os, sys, time
import transferkit.extract.job
import transferkit.extract.writing
from transferkit.backbones import resolve_backbone
from transferkit.extract import extract
from transferkit.forward import Forward
from transferkit.images import list_images
from transferkit.store import FeatureStore

transferkit.extract.writing.SHARD_ROWS = 16
# Trying what was in flight starts a process, which takes seconds: see test_suspects.
transferkit.extract.job.ending = lambda *arguments: {}
rows = Forward.rows

def slow(self, pixels):
    time.sleep(0.01)  # so that there are moments to be killed in
    return rows(self, pixels)

Forward.rows = slow
spec = resolve_backbone("test_resnet", pretrained=False, image_size=64)
for line in iter(sys.stdin.readline, ""):
    pid = os.fork()
    if not pid:
        images, store = list_images(sys.argv[1]), FeatureStore(sys.argv[2])
        try:
            extract(images, spec, sys.argv[5:], store, batch_size=4, storage=sys.argv[4])
            code = 0
        except BaseException:
            code = 1
        open(sys.argv[3], "x").close()
        os._exit(code)
    print(pid, flush=True)
    assert sys.stdin.readline() == "reap\\n"
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""
ROUNDS = 12


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
@pytest.mark.parametrize(
    ("storage", "names"),
    [("float32", ["pre_logits", "stage3.avg"]), ("int8", ["stage1.map", "stage3.map"])],
)
def test_killed_at_random_moments_and_resumed(tmp_path, storage, names):
    paths = write_pictures(tmp_path / "images", range(200))
    folder = tmp_path / "store"
    spec = resolve_backbone("test_resnet", pretrained=False, image_size=64)
    expected = extract(list_images(paths), spec, names, None, batch_size=4, storage=storage)
    rng = random.Random(0)
    outcomes = []
    done = tmp_path / "done"
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, paths[0].parent, folder, done, storage, *names],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    ) as process:

        def tell(line):
            process.stdin.write(f"{line}\n")
            process.stdin.flush()
            return int(process.stdout.readline())

        while len(outcomes) < ROUNDS and not done.exists():
            n_before = len(list(folder.rglob("*.safetensors")))
            pid = tell("go")
            while len(list(folder.rglob("*.safetensors"))) == n_before and not done.exists():
                time.sleep(0.002)
            time.sleep(rng.uniform(0, 0.07))
            os.kill(pid, signal.SIGKILL)
            outcomes.append(tell("reap"))
        process.stdin.close()
    assert -signal.SIGKILL in outcomes
    assert set(outcomes) <= {0, -signal.SIGKILL}

    store = FeatureStore(folder)
    shards = folder / spec.feature_spec(names[0], storage=storage).key / "shards"
    (shards / f".tmp-{rng.random()}").write_bytes(b"half a shar")
    (shards / "half.safetensors.tmp").write_bytes(b"half a shar")
    n_there = {info.spec.feature: info.n_rows for info in store.list_keys()}
    assert n_there[names[0]] >= 16
    result = extract(list_images(paths), spec, names, store, storage=storage)
    assert result.n_computed == 200 - min(n_there.values())
    for name in names:
        np.testing.assert_array_equal(result.rows[name], expected.rows[name])
    assert not [fault for fault in store.verify() if fault.path.suffix == ".safetensors"]
    again = extract(list_images(paths), spec, names, FeatureStore(folder), storage=storage)
    assert again.n_computed == 0
