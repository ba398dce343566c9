import numpy as np
import pytest
import torch

from tests.finetune.conftest import small_training
from tests.pictures import picture
from transferkit.finetune.recipe import Recipe
from transferkit.finetune.samples import PixelSamples
from transferkit.finetune.training_loop import outputs_of
from transferkit.images import list_images
from transferkit.spec import Preprocess

pytestmark = pytest.mark.finetuning


@pytest.mark.parametrize("n", [1, 64, 130])
def test_every_image_once_in_order(n):
    training = small_training(None, 2, n)
    network, held = training.network.train(), training.held
    outputs = outputs_of(network, held.inputs, 2, training.processes)
    assert network.training
    with torch.no_grad():
        expected = network.eval()(held.inputs.inputs)
    torch.testing.assert_close(outputs, expected)
    assert not outputs.requires_grad


def test_images_are_not_augmented():
    preprocess = Preprocess((8, 8), "bilinear", 1.0, "squash", (0.5,) * 3, (0.25,) * 3)
    recipe = Recipe(epochs=1, batch_size=2, crop_scale=0.1, jitter=0.9, erasing=1.0)
    images = list_images(np.stack([picture(i) for i in range(6)]))
    samples = PixelSamples(images, preprocess, recipe)
    training = small_training(None)
    training.network.body.network = torch.nn.Sequential(
        torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(3, 4)
    )
    outputs = outputs_of(training.network, samples, 2, training.processes)
    pixels = torch.from_numpy(np.array(samples.pixels)).permute(0, 3, 1, 2)
    with torch.no_grad():
        torch.testing.assert_close(outputs, training.network.eval()(pixels))
