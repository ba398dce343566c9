import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss

from transferkit import ImageHead, create_backbone
from transferkit.maps import FeatureMaps
from transferkit.pooling import pooling_names

RNG = np.random.default_rng(0)
N_TOKENS = 2


def maps(n_images=4, width=6):
    generator = torch.Generator().manual_seed(0)
    level = torch.rand(n_images, width, 5, 3, generator=generator)
    prefix = torch.rand(n_images, N_TOKENS, width, generator=generator)
    return FeatureMaps({"final": level}, {"final": 32}, {"final": prefix}, level.amax((2, 3)))


@pytest.mark.parametrize("pooling", sorted(set(pooling_names()) - {"map"}))
def test_it_is_a_linear_layer_on_pooled_features(pooling):
    width = {"cls_avg": 12, "flatten": 90}.get(pooling, 6)
    head = ImageHead(width, 3, feature=f"final.{pooling}")
    outputs = head(maps())
    assert head.layer == "final"
    assert outputs.shape == (4, 3)
    outputs.square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in head.parameters())
    if pooling == "avg":
        rows = maps().maps["final"].numpy().mean((2, 3))
        expected = rows @ head.weight.detach().numpy().T
        np.testing.assert_allclose(outputs.detach().numpy(), expected, rtol=1e-5, atol=1e-7)


def test_losses_are_scikit_learns():
    scores = torch.tensor(RNG.normal(size=(20, 3)), dtype=torch.float32)
    y = RNG.integers(0, 3, 20)
    loss = ImageHead(2, 3).loss(scores, torch.from_numpy(y))
    assert float(loss) == pytest.approx(log_loss(y, scores.double().softmax(1)), rel=1e-5)
    weights = np.array([0.5, 2.0, 1.0])
    loss = ImageHead(2, 3, class_weights=weights).loss(scores, torch.from_numpy(y))
    parts = -scores.double().log_softmax(1).numpy()[np.arange(20), y]
    assert float(loss) == pytest.approx(np.mean(weights[y] * parts), rel=1e-5)
    smoothed = ImageHead(2, 3, label_smoothing=0.3)
    shares = torch.full((20, 3), 0.1).scatter(1, torch.from_numpy(y)[:, None], 0.8)
    expected = float((-shares * scores.log_softmax(1)).sum(1).mean())
    assert float(smoothed.loss(scores, torch.from_numpy(y))) == pytest.approx(expected, rel=1e-5)
    # Shares of the classes may be given as they are.
    assert float(ImageHead(2, 3).loss(scores, shares)) == pytest.approx(expected, rel=1e-5)
    labels = torch.from_numpy(RNG.integers(0, 2, (20, 3))).float()
    several = ImageHead(2, 3, "multilabel").loss(scores, labels)
    columns = zip(labels.numpy().T, scores.double().sigmoid().numpy().T, strict=True)
    expected = np.mean([log_loss(y, p, labels=[0, 1]) for y, p in columns])
    assert float(several) == pytest.approx(expected, rel=1e-5)
    squares = ImageHead(2, 3, "regression").loss(scores, labels)
    assert float(squares) == pytest.approx(float(((scores - labels) ** 2).mean()), rel=1e-6)


def test_a_part_of_a_batch_keeps_its_weights():
    head = ImageHead(2, 2, class_weights=[1.0, 9.0])
    scores, one = torch.zeros(3, 2), torch.tensor([1, 1, 1])
    assert float(head.loss(scores, one)) == pytest.approx(9 * np.log(2))


def test_dropout_is_for_training():
    head = ImageHead(6, 3, dropout=0.5, feature="final.avg")
    torch.nn.init.ones_(head.weight)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        first, second = head(maps()), head(maps())
        assert not torch.equal(first, second)
    head.eval()
    assert torch.equal(head(maps()), head(maps()))


def test_what_it_saves_is_a_linear_layer():
    head = ImageHead(6, 3, label_smoothing=0.1, class_weights=[1, 2, 3])
    assert list(head.state_dict()) == ["weight", "bias"]
    other = ImageHead(6, 3)
    other.load_state_dict(head.state_dict())
    assert torch.equal(other(maps()), head(maps()))


def test_it_describes_itself():
    head = ImageHead(6, 2, feature="final", dropout=0.1, label_smoothing=0.2, class_weights=[1, 2])
    assert repr(head) == (
        "ImageHead(6, 2, task='classification', feature='final.avg', dropout=0.1, "
        "label_smoothing=0.2, class_weights=[1.0, 2.0])"
    )


def test_a_loop_of_ones_own_learns():
    """Network, pooling, dropout and linear layer, by nothing but torch."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        backbone = create_backbone("test_resnet", pretrained=False, image_size=32)
        network = backbone.network.requires_grad_(True)
        head = ImageHead(backbone.channels["stage3"], 2, feature="stage3.avg", dropout=0.1)
        before = {n: p.clone() for n, p in network.named_parameters()}
        y = torch.arange(8) % 2
        pixels = (torch.rand(8, 3, 32, 32) * 100 + 100 * y.view(-1, 1, 1, 1)).to(torch.uint8)
        images = backbone.normalize(pixels)
        optimizer = torch.optim.Adam([*network.parameters(), *head.parameters()], lr=1e-2)
        losses = []
        for _ in range(8):
            optimizer.zero_grad()
            loss = head.loss(head(network(images, {head.layer})), y)
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] / 2
    moved = [n for n, p in network.named_parameters() if not torch.equal(before[n], p)]
    assert len(moved) > 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dropout": 1.0}, r"dropout is 1\.0; give a number from 0 up to, but not, 1"),
        ({"label_smoothing": -0.1}, "label_smoothing is -0.1; give a number from 0"),
        ({"class_weights": [1.0]}, "give a number of at least 0 for each of 2 classes"),
        ({"class_weights": [1.0, -1.0]}, "give a number of at least 0 for each of 2 classes"),
        ({"class_weights": [1.0, np.nan]}, "give a number of at least 0 for each of 2 classes"),
        ({"task": "regression", "class_weights": [1, 1]}, "leave it out for regression"),
        ({"task": "multilabel", "label_smoothing": 0.1}, "leave it out for multilabel"),
        ({"task": "clasification"}, "did you mean 'classification'"),
        ({"feature": "final.avrg"}, "did you mean 'avg'"),
    ],
)
def test_what_it_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        ImageHead(4, 2, **arguments)
