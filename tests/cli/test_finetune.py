import json
import re

import pytest

from tests.cli.conftest import BACKBONE

pytestmark = pytest.mark.finetuning

TINY = (*BACKBONE, "--set", "epochs=2", "--set", "batch_size=8")


def test_a_tuned_model_works_with_every_command(call, images, tmp_path):
    model = tmp_path / "model"
    # Without validation the last epoch is kept, whether it is better or not.
    done = call("finetune", images, *TINY, "--set", "validation_fraction=0", "--out", model)
    assert done.code == 0, done.err
    assert "lp-ft of test_resnet on 19 images (none held out):\n  epochs  " in done.err
    assert re.search(r"^  batch size +8 +warmup +0\.1 +jitter +0\.2$", done.err, re.M)
    shown = dict(line.split("  ", 1) for line in done.out.splitlines())
    assert shown["images"].strip() == "24"
    assert "on 5 images (held out: 20%, seed 0)" in done.out
    assert sorted(p.name for p in (tmp_path / "model.run").iterdir()) == ["curves.png", "log.csv"]
    predicted = call("predict", model, images)
    assert predicted.code == 0
    assert len(predicted.out.splitlines()) == 25
    measured = json.loads(call("evaluate", model, images, "--json").out)
    assert measured["left_out"] == 19
    backbone = f"local-dir:{model / 'backbone'}"
    extracted = json.loads(call("extract", images, "--backbone", backbone, "--json").out)
    assert extracted["computed"] == 0  # predict has put the tuned features into the store


def test_no_gain_is_said(call, images, tmp_path):
    settings = [f"--set={s}" for s in ("learning_rate=1.0", "optimizer=sgd", "warmup=0.0")]
    # Again, over the run's own folder: what is there doesn't matter.
    for force in ((), ("--force",)):
        done = call("finetune", images, *TINY, *settings, *force, "--out", tmp_path / "model")
        assert done.code == 0, done.err
        assert "Warning: no gain: the probe is kept, and the backbone as it was;" in done.err
        assert re.search(r"^kept +no gain: the start, before any of 2 epochs; 1\.0", done.out, re.M)
        assert not (tmp_path / "model" / "backbone").exists()
    extracted = json.loads(call("extract", images, *BACKBONE, "--json").out)
    assert extracted["computed"] == 0


def test_json_and_init(call, images, tmp_path):
    first = call("finetune", images, *TINY, "--out", tmp_path / "a", "--strategy", "norm-only")
    assert first.code == 0, first.err
    options = (*TINY, "--init", tmp_path / "a", "--minutes", "1", "--json")
    second = call("finetune", images, *options, "--out", tmp_path / "b", "--run", tmp_path / "r")
    assert second.code == 0, second.err
    result = json.loads(second.out)
    assert result["strategy"] == "lp-ft"
    assert result["epochs"] <= 2
    assert result["report"]["accuracy"] >= 0.5
    assert (tmp_path / "r" / "log.csv").is_file()


def test_regression(call, images, tmp_path):
    table = tmp_path / "table.csv"
    files = sorted(images.rglob("*.jpg"))
    lines = [f"{f.relative_to(tmp_path)},{50 if 'dark' in str(f) else 200}" for f in files]
    table.write_text("\n".join(["path,label", *lines]))
    done = call("finetune", table, *TINY, "--task", "regression", "--out", tmp_path / "model")
    assert done.code == 0, done.err
    assert "R²" in done.out


def test_unreadable_images_are_named(call, damaged, tmp_path):
    done = call("finetune", damaged, *TINY, "--out", tmp_path / "model")
    assert done.code == 3
    assert "3 of 27 images could not be read:" in done.err


def test_what_is_wrong_is_said_before_anything_is_computed(call, images, tmp_path):
    out = ("--out", tmp_path / "model")
    for options, message in (
        (("--strategy", "lpft"), "Error: unknown strategy 'lpft'; did you mean 'lp-ft'?"),
        (("--set", "epoch=3"), "Error: unknown setting of the recipe: 'epoch'; did you mean"),
        (("--set", "epochs=many"), "Error: epochs is 'many'; give a whole number"),
    ):
        done = call("finetune", images, *BACKBONE, *options, *out)
        assert done.code == 1
        assert message in done.err
    done = call("finetune", images, *BACKBONE, "--set", "epochs", *out)
    assert done.code == 2
    assert "write NAME=VALUE, as in layer_decay=0.8" in done.err
    done = call("finetune", images, *BACKBONE, "--resume", *out)
    assert done.code == 1
    assert "holds no checkpoint to go on from" in done.err


def test_what_a_list_names_is_left_out(call, images, tmp_path):
    file = tmp_path / "exclude.txt"
    file.write_text("dark/00.jpg\nlight/05.jpg\n")
    done = call("finetune", images, *TINY, "--exclude", file, "--out", tmp_path / "m", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["images"] == 22
