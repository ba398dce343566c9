"""The picture of images with their predictions."""

import pytest
from PIL import Image

from tests.pictures import coloured
from transferkit.images import ImageSet
from transferkit.report.plots import draw_predictions


@pytest.mark.parametrize("n_wrong", [0, 5])
def test_a_picture_is_drawn(tmp_path, n_wrong):
    pixels, codes = coloured(4)
    images = ImageSet(tuple(pixels), tuple(map(str, range(len(pixels)))))
    predicted = [*((c + 1) % 3 for c in codes[:n_wrong]), *codes[n_wrong:]]
    path = tmp_path / "picture.png"
    draw_predictions(images, list(codes), predicted, path)
    with Image.open(path) as picture:
        assert picture.size == (1300, 560)
        assert len(picture.convert("RGB").getcolors(1 << 24)) > 50
