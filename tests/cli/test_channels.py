"""Options for images of other channels and values, on every command that makes a backbone."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

OPTIONS = (
    *("--backbone", "test_resnet", "--random", "--image-size", "32", "--device", "cpu"),
    *("--in-chans", "4", "--mean", "0.5", "--std", "0.1,0.2,0.3,0.4", "--value-range", "0", "4095"),
    *("--bands", "4,2,1,5", "--layout", "CHW", "--quiet"),
)


@pytest.fixture
def arrays(tmp_path: Path) -> Path:
    """Twelve arrays of five channels, first, in each of two classes."""
    rng = np.random.default_rng(0)
    for name, level in (("dark", 500), ("light", 3000)):
        (tmp_path / "arrays" / name).mkdir(parents=True)
        for i in range(12):
            values = rng.integers(level, level + 500, (5, 40, 36)).astype(np.uint16)
            np.save(tmp_path / "arrays" / name / f"{i:02}.npy", values)
    return tmp_path / "arrays"


def test_fit_predict_and_evaluate(call, arrays: Path, tmp_path: Path) -> None:
    fitted = call("fit", arrays, *OPTIONS, "--out", tmp_path / "model")
    assert fitted.code == 0, fitted.err
    stored = json.loads((tmp_path / "model" / "model.json").read_text())["backbone"]["preprocess"]
    assert stored["value_range"] == [0.0, 4095.0]
    assert stored["bands"] == [4, 2, 1, 5]
    assert stored["layout"] == "CHW"
    # Nothing has to be told again.
    assert call("predict", tmp_path / "model", arrays, "--out", tmp_path / "p.csv").code == 0
    with (tmp_path / "p.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {(row["path"].split("/")[0], row["prediction"]) for row in rows} == {
        ("dark", "dark"),
        ("light", "light"),
    }
    page = tmp_path / "page.html"
    measured = call("evaluate", tmp_path / "model", arrays, "--report", page, "--json")
    assert measured.code == 0, measured.err
    assert "4 channels, bands 4, 2, 1, 5, values 0 to 4095, channels first" in page.read_text()


def test_inspect_and_search(call, arrays: Path, tmp_path: Path) -> None:
    for file in (arrays / "dark").glob("0*.npy"):
        (arrays / "light" / f"copy of {file.name}").write_bytes(file.read_bytes())
    found = call("inspect", arrays, *OPTIONS, "--json")
    assert found.code == 0, found.err
    assert "duplicate" in found.out
    image = arrays / "dark" / "00.npy"
    options = [*OPTIONS, "--in", arrays, "--json"]
    nearest = call("search", image, *options)
    assert nearest.code == 0, nearest.err


def test_what_isn_t_stated_is_asked_for(call, arrays: Path) -> None:
    few = [o for o in OPTIONS if o not in ("--value-range", "0", "4095")]
    failed = call("extract", arrays, *few)
    assert failed.code == 1
    assert "uint16 values from 5" in failed.err
    assert "--value-range LOW HIGH" in failed.err
    wrong = call("extract", arrays, *OPTIONS, "--bands", "1,x")
    assert wrong.code == 2
    assert "give numbers with commas between" in wrong.err
    assert call("extract", arrays, *OPTIONS, "--value-range", "9", "1").code == 1
