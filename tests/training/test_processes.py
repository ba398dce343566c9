"""Two processes on one machine, through torchrun and gloo, against one."""

import json
import sys

import numpy as np
import pytest
import torch

from tests.finetune.conftest import classifier
from tests.launched import run_in_two
from transferkit.training import Processes, native_precision

pytestmark = pytest.mark.finetuning

SCRIPT = """
import json, sys
import numpy as np
from tests.finetune.conftest import classifier
from tests.pictures import coloured
images, codes = coloured(10)
labels = np.array(["red", "green", "blue"])[codes]
model = classifier(sys.argv[1], freeze_statistics=True, accumulate=2, epochs=3)
model.fit(images, labels)
if model.history_ and int(__import__("os").environ["RANK"]) == 0:
    print(json.dumps([[h["train_loss"], h["val_loss"], h["val_metric"]] for h in model.history_]))
"""


def test_two_processes_compute_what_one_does(pictures, tmp_path):
    outputs = run_in_two("-c", SCRIPT, tmp_path / "two")
    two = np.array(json.loads(outputs[0][0].replace("NaN", "null")), float)
    model = classifier(tmp_path / "one", freeze_statistics=True, accumulate=2, epochs=3)
    model.fit(*pictures)
    one = [[h["train_loss"], h["val_loss"], h["val_metric"]] for h in model.history_]
    np.testing.assert_allclose(two, np.array(one), rtol=1e-4)
    written = (["backbone"] if model.best_epoch_ else []) + ["curves.png", "log.csv"]
    for folder in ("one", "two"):
        assert sorted(p.name for p in (tmp_path / folder).iterdir()) == written


def test_one_process_needs_no_accelerate(monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)
    processes = Processes(torch.device("cpu"))
    assert (processes.rank, processes.count, processes.is_first) == (0, 1, True)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="several processes need accelerate, which isn't install"):
        Processes(torch.device("cpu"))


def test_a_batch_that_cannot_be_shared(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(Processes, "count", 3, raising=False)
    monkeypatch.setattr(Processes, "__init__", lambda self, device: vars(self).update(
        accelerator=None, device=device, rank=0))  # fmt: skip
    with pytest.raises(ValueError, match="batch_size is 8, which 3 processes in 1 parts can't sha"):
        classifier(tmp_path).fit(*pictures)


def test_bf16_where_the_cpu_has_it(monkeypatch):
    cpu = torch.device("cpu")
    for capabilities, expected in (
        ({"avx512_bf16": True}, "bf16"),
        ({"amx_bf16": True, "avx512_bf16": False}, "bf16"),
        ({"avx2": True}, "float32"),
    ):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda c=capabilities: c, raising=False)
        assert native_precision(cpu) == expected
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert native_precision(cpu) == "float32"


def test_a_batch_of_any_shape_is_moved():
    processes = Processes(torch.device("meta"))
    boxes = [torch.zeros(2, 4), torch.zeros(0, 4)]
    batch = processes.to_device((torch.zeros(3), [{"boxes": boxes, "name": "a"}, 7]))
    images, (annotations, number) = batch
    assert {t.device.type for t in (images, *annotations["boxes"])} == {"meta"}
    assert [tuple(t.shape) for t in annotations["boxes"]] == [(2, 4), (0, 4)]
    assert (annotations["name"], number) == ("a", 7)
