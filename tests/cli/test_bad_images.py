"""Good images beside everything that may stand among them: the good ones have their rows."""

import json
import re
import warnings

import pytest
from PIL import Image

from tests.bad_pictures import BAD
from tests.cli.conftest import BACKBONE
from tests.pictures import write_pictures

SMALL = {name: bad for name, bad in BAD.items() if not bad.is_large}


@pytest.fixture
def table(tmp_path):
    """A table of good images and, among them, the others; and where those are."""
    good = write_pictures(tmp_path / "good", range(6), ".jpg")
    (tmp_path / "bad").mkdir()
    bad = [f"bad/{i:02}{one.suffix}" for i, one in enumerate(SMALL.values())]
    for path, one in zip(bad, SMALL.values(), strict=True):
        one.write(tmp_path / path)
    paths = [f"good/{path.name}" for path in good]
    paths[3:3] = bad
    (tmp_path / "table.csv").write_text("\n".join(["path", *paths]))
    return tmp_path / "table.csv", bad


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("options", [(), ("--exif", "--decode", "scaled")])
def test_each_bad_image_costs_its_own_row(call, table, options):
    path, bad = table
    done = call("extract", path, *BACKBONE, *options, "--json", "--quiet")
    result = json.loads(done.out)
    reasons = {failure["name"]: failure["reason"] for failure in result["failures"]}
    expected = {
        name: one.reason
        for name, one in zip(bad, SMALL.values(), strict=True)
        if one.reason and (options or not one.options)
    }
    assert reasons.keys() >= expected.keys()
    for name, pattern in expected.items():
        assert re.search(pattern, reasons[name]), (name, reasons[name], pattern)
        assert f"  {name}: {reasons[name]}" in done.err.splitlines()
    assert result["rows"] == 6 + len(bad) - len(reasons)
    # What is met only under an option may be refused without it, but nothing else is.
    may_fail = {name for name, one in zip(bad, SMALL.values(), strict=True) if one.reason}
    assert reasons.keys() <= may_fail
    assert done.code == 3
    assert call("extract", path, *BACKBONE, *options, "--quiet", "--on-error", "skip").code == 0


def test_the_pixel_limit_is_an_option(call, tmp_path):
    write_pictures(tmp_path / "good", range(3))  # 64 × 64 px: 0.0041 megapixels
    before = Image.MAX_IMAGE_PIXELS, list(warnings.filters)
    command = ("extract", tmp_path / "good", *BACKBONE, "--quiet")
    refused = call(*command, "--max-megapixels", "0.004")
    assert refused.code == 1
    assert "3 of 3 images could not be read: 000.png (0.0 megapixels, above the" in refused.err
    # In silence, though PIL would warn here; for this call alone; and no part of the key.
    done = call(*command, "--max-megapixels", "0.005")
    assert (done.code, done.err) == (0, "")
    assert (Image.MAX_IMAGE_PIXELS, list(warnings.filters)) == before
    done = call(*command, "--json")
    assert (done.code, json.loads(done.out)["computed"]) == (0, 0)
    assert call(*command, "--max-megapixels", "0").code == 2
