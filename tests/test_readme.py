"""What the README shows is true: its Python runs, and its commands exist."""

import re
from pathlib import Path

import numpy as np

from transferkit import registry
from transferkit.heads import head_names
from transferkit.pooling import pooling_names

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_python_runs(capsys):
    blocks = re.findall(r"```python\n(.*?)```", README, re.S)
    assert len(blocks) == 5
    names = {}
    exec(blocks[0], names)
    assert capsys.readouterr().out.split("\n")[0] == str(np.array(["dark", "light"]))
    assert set(names["search"].best_params_) == {"features", "head__C"}
    exec(blocks[1], names)
    found = names["found"]
    assert len(found.boxes) == len(found.scores) == len(found.labels) > 0
    exec(blocks[2], names)
    assert names["turned"].shape[1] == 5
    exec(blocks[4], names)
    assert set(names["search"].best_params_) == {"head__C"}


def test_masks_are_painted_as_the_package_paints_them():
    from transferkit.dense.instances._coverage import painted

    names = {}
    exec(re.findall(r"```python\n(.*?)```", README, re.S)[3], names)
    mask = np.random.default_rng(0).random((28, 28))
    for box in ([3.2, 5.7, 30.1, 44.0], [-4.0, 10.5, 70.3, 90.0]):
        expected = np.zeros((60, 64), dtype=bool)
        painted(mask, np.array(box), (60, 64)).paint(expected, True)
        assert expected.any()
        assert np.array_equal(names["painted"](mask, box, (60, 64)), expected)


def test_the_table_names_commands_that_exist():
    shown = set(re.findall(r"^\| `transferkit (\w+)", README, re.M))
    assert {"extract", "fit", "predict"} <= shown <= set(registry.names("transferkit.cli"))
    store = re.search(r"`transferkit store ([^`]*)`", README)[1]
    group = registry.load("transferkit.cli", "store", "command").command
    assert set(store.replace("\\|", "").split()) == set(group.commands)


def test_the_map_names_every_module():
    shown = set(re.findall(r"^  (\w+)(?:/|\.py) ", README, re.M))
    package = Path(registry.__file__).parent
    modules = {p.stem for p in package.iterdir() if not p.name.startswith(("_", "py.typed"))}
    assert shown == modules


def test_poolings_and_heads_that_are_named_exist():
    poolings = re.search(r"Poolings: (.*?);", README, re.S)[1]
    shown = set(re.findall(r"`(\w+)`", poolings))
    assert {"avg", "cls", "map"} <= shown <= set(pooling_names())
    heads = re.search(r"one file per head: (.*)", README)[1]
    assert {"linear", "knn"} <= set(heads.split(", ")) <= set(head_names())
