"""fit, export and push, as a user calls them."""

import json
from pathlib import Path

import huggingface_hub
import numpy as np
import onnxruntime
import pytest

from tests.cli.conftest import BACKBONE
from transferkit.annotations import Annotations
from transferkit.cli import export
from transferkit.estimators import FeatureExtractor, TransferDetector
from transferkit.export import format_names

pytestmark = pytest.mark.engines


@pytest.fixture
def model(call, images: Path, tmp_path: Path) -> Path:
    path = tmp_path / "model"
    assert call("fit", images, *BACKBONE, "--out", path).code == 0
    return path


def test_onnx(call, model: Path, images: Path) -> None:
    result = call("export", model, "--format", "onnx", "--check", images)
    assert result.code == 0
    assert result.out.startswith(f"onnx   {model}.onnx (")
    assert "on 24 images; same label for 24 of 24" in result.out
    pixels = np.full((1, 48, 48, 3), 200, np.uint8)
    session = onnxruntime.InferenceSession(f"{model}.onnx")
    [label] = session.run(["label"], {"pixels": pixels})[0]
    assert ["dark", "light"][label] == "light"
    refused = call("export", model, "--format", "timm", "--tolerance", "1e-30")
    assert refused.code == 1
    assert "wasn't kept" in refused.err


def test_a_detector(call, tmp_path: Path) -> None:
    images = np.zeros((4, 64, 64, 3), np.uint8)
    images[:, 16:48, 24:56] = 255
    square = Annotations((64, 64), boxes=np.array([[24.0, 16.0, 56.0, 48.0]]), labels=np.array([1]))
    extractor = FeatureExtractor(
        "test_resnet", pretrained=False, image_size=64, crop_pct=1.0, store=False
    )
    recipe = {"epochs": 1, "zoomed": False}
    TransferDetector(extractor, recipe=recipe).fit(images, [square] * 4).save(tmp_path / "model")
    result = call("export", tmp_path / "model")
    assert result.code == 0
    assert "(edges of boxes, px; allowed 0.01) on 17 images; same boxes for" in result.out


def test_every_format_is_a_choice() -> None:
    [option] = [p for p in export.command.params if p.name == "form"]
    assert list(option.type.choices) == format_names()


def test_timm_as_json(call, model: Path, tmp_path: Path) -> None:
    result = call("export", model, "--format", "timm", "--output", tmp_path / "net", "--json")
    found = json.loads(result.out)
    assert found["path"] == str(tmp_path / "net")
    assert found["check"]["n_same"] == found["check"]["n"] == 17
    assert found["bytes"] == sum(p.stat().st_size for p in (tmp_path / "net").iterdir())


def test_push(call, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uploaded: list[list[str]] = []

    class Hub:
        def __init__(self, **options: object) -> None:
            pass

        def create_repo(self, name: str, **options: object) -> None:
            assert name == "me/hands"

        def upload_folder(self, *, folder_path: Path, **options: object) -> str:
            uploaded.append(sorted(p.name for p in folder_path.iterdir()))
            return "https://hub/me/hands"

    monkeypatch.setattr(huggingface_hub, "HfApi", Hub)
    for options in (["--dry-run"], ["--output", tmp_path / "net"]):
        result = call("push", model, "hf-hub:me/hands", *options)
        assert result.code == 0
        assert "nothing was uploaded" in result.out
        assert uploaded == []
    assert (tmp_path / "net" / "config.json").is_file()
    result = call("push", model, "hf-hub:me/hands")
    assert result.code == 0
    assert "uploaded  https://hub/me/hands\n" in result.out
    assert uploaded == [["README.md", "config.json", "model.safetensors"]]
    wrong = call("push", model, "hands")
    assert wrong.code == 1
    assert "write hf-hub:ORG/NAME" in wrong.err


def test_the_card_after_fit(model: Path, images: Path) -> None:
    card = (model / "README.md").read_text(encoding="utf-8")
    assert "- images: `images`\n" in card
    assert "- measured on: `5 images (held out: 20%, seed 0)`" in card
    assert "| accuracy | 1 | 0.5655 to 1 | 0.6 | 5 |" in card  # Wilson's interval of 5 of 5
    assert "| balanced accuracy | 1 | unknown | 0.5 | 5 |" in card
    assert "no better than always saying 'dark' (60.0 %)" in card
    assert str(images.parent) not in card


def test_intervals_of_numbers(call, images: Path, tmp_path: Path) -> None:
    table = tmp_path / "numbers.csv"
    files = sorted(images.rglob("*.jpg"))
    lines = [f"{p.relative_to(tmp_path)},{i % 7},{i}" for i, p in enumerate(files)]
    table.write_text("\n".join(["path,a,b", *lines]))
    options = ("--task", "regression", "--labels", "a,b", "--head", "ridge")
    assert call("fit", table, *BACKBONE, *options, "--out", tmp_path / "m").code == 0
    rows = json.loads((tmp_path / "m" / "model.json").read_text())["facts"]["metrics"]
    assert [row["name"] for row in rows] == ["R²", "MAE", "RMSE"]
    for row in rows[1:]:
        assert row["low"] <= row["value"] <= row["high"]
