"""``--tiles`` of fit, predict and evaluate."""

import json

import numpy as np
import pytest
from PIL import Image

from tests.estimators.test_tiles import SIZE, picture
from transferkit.cli._dense import TRAINED


@pytest.fixture
def squares(tmp_path):
    """Large pictures of small squares, with their boxes in a COCO file."""
    root = tmp_path / "squares"
    root.mkdir()
    images, objects = [], []
    for i in range(5):
        pixels, boxes = picture(i)
        Image.fromarray(pixels).save(root / f"{i}.png")
        images.append({"id": i, "file_name": f"{i}.png", "width": SIZE[1], "height": SIZE[0]})
        for left, top, _, _ in boxes.tolist():
            objects.append(
                {"id": len(objects), "image_id": i, "category_id": 1, "bbox": [left, top, 10, 10],
                 "area": 100, "iscrowd": 0}
            )  # fmt: skip
    content = {"images": images, "annotations": objects, "categories": [{"id": 1, "name": "sq"}]}
    (root / "_annotations.coco.json").write_text(json.dumps(content))
    return root


def test_fit_predict_and_evaluate(call, squares, tmp_path):
    fitted = call(
        "fit", squares, "--task", "detection", "--head", "fcos", "--backbone", "bundled",
        "--tiles", "2x2", "--set", "epochs=1", "--set", "zoomed=false", "--test-size", 0,
        "--out", tmp_path / "model", "--json",
    )  # fmt: skip
    assert fitted.code == 0, fitted.err
    assert "on tiles 2x2,overlap=0.2" in json.loads(fitted.out)["described"]
    facts = json.loads((tmp_path / "model" / "model.json").read_text())
    assert "2x2,overlap=0.2" in json.dumps(facts)
    found = tmp_path / "found.json"
    done = call("predict", tmp_path / "model", squares, "--out", found, "--threshold", 0)
    assert done.code == 0, done.err
    assert "5 of 5 images predicted" in done.err
    boxes = np.array([one["bbox"] for one in json.loads(found.read_text())["annotations"]])
    assert (boxes >= 0).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= [SIZE[1] + 0.01, SIZE[0] + 0.01]).all()
    for tiles in ("none", "3x3,whole"):
        measured = call(
            "evaluate", tmp_path / "model", squares, "--all", "--tiles", tiles, "--json"
        )
        assert measured.code == 0, measured.err
        assert json.loads(measured.out)["n"] == 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--task", "detection", "--tiles", "many"), "tiles is 'many'; give such as '2x3'"),
        (("--tiles", "2x2"), f"--tiles is for {TRAINED}; the task is"),
        (("--task", "anomaly", "--tiles", "2x2"), f"is for {TRAINED}, not anomaly"),
    ],
)
def test_where_tiles_belong(call, squares, tmp_path, options, message):
    done = call("fit", squares, "--backbone", "bundled", *options, "--out", tmp_path / "model")
    assert done.code == 2, done.err
    assert message in " ".join(done.err.replace("│", " ").split())
