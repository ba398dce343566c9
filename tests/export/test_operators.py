"""Operators of detection in ONNX Runtime against torch's, for batches of several sizes."""

import warnings

import onnxruntime
import pytest
import torch
from torch import nn
from torchvision.ops import roi_align

from transferkit.dense.detection._order import highest
from transferkit.dense.detection._survivors import survivors
from transferkit.dense.oriented._survivors import survivors_of_overlaps
from transferkit.export._operators import operators
from transferkit.metrics._clipping import oriented_ious

pytestmark = pytest.mark.engines


class Suppressing(nn.Module):
    def forward(self, boxes, scores, groups):
        return survivors(boxes, scores, groups, 0.5)


class SuppressingOriented(nn.Module):
    def forward(self, boxes, scores, groups):
        return survivors_of_overlaps(oriented_ious(boxes, boxes), scores, groups, 0.3)


class Aligning(nn.Module):
    def __init__(self, aligned, samples):
        super().__init__()
        self.aligned, self.samples = aligned, samples

    def forward(self, level, boxes):
        return roi_align(level, boxes, (3, 2), 0.25, self.samples, self.aligned)


def session_of(network, *example):
    n = torch.export.Dim("n")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network,
            example,
            dynamo=True,
            verbose=False,
            opset_version=18,
            dynamic_shapes=tuple({0: n} for _ in example),
            custom_translation_table=operators(),
        )
    session = onnxruntime.InferenceSession(
        program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    names = [value.name for value in session.get_inputs()]

    def outputs(*tensors):
        given = {name: t.numpy() for name, t in zip(names, tensors, strict=True)}
        return torch.from_numpy(session.run(None, given)[0])

    return outputs


def candidates(n_images, n=50):
    corners = torch.rand(n_images, n, 2) * 40
    boxes = torch.cat((corners, corners + 5 + torch.rand(n_images, n, 2) * 25), -1)
    return boxes, (torch.rand(n_images, n) - 0.2).clamp(min=0), torch.randint(0, 4, (n_images, n))


def test_suppression():
    torch.manual_seed(0)
    outputs = session_of(Suppressing(), *candidates(2))
    for n_images in (1, 2, 5):
        given = candidates(n_images)
        expected = survivors(*given, 0.5)
        assert 0 < expected.sum() < (given[1] > 0).sum()
        assert torch.equal(outputs(*given), expected)
    nothing = torch.zeros(3, 50, 4), torch.zeros(3, 50), torch.zeros(3, 50).long()
    assert not outputs(*nothing).any()


def oriented_candidates(n_images, n=60):
    shapes = torch.rand(n_images, n, 5) * torch.tensor([60.0, 60, 25, 10, 180])
    boxes = shapes + torch.tensor([0.0, 0, 10, 2, -90])
    # Near-duplicates, and scores of which many are equal, and some 0.
    boxes[:, n // 2 :] = boxes[:, : n // 2] + torch.randn(n_images, n // 2, 5) * 1e-3
    scores = torch.randint(0, 12, (n_images, n)) / 12
    return boxes, scores, torch.randint(0, 3, (n_images, n))


def test_suppression_of_oriented_boxes():
    torch.manual_seed(0)
    network = SuppressingOriented()
    outputs = session_of(network, *oriented_candidates(2))
    for n_images in (1, 2, 5):
        given = oriented_candidates(n_images)
        expected = network(*given)
        assert 0 < expected.sum() < (given[1] > 0).sum()
        assert torch.equal(outputs(*given), expected)
    nothing = torch.zeros(3, 60, 5), torch.zeros(3, 60), torch.zeros(3, 60).long()
    assert not outputs(*nothing).any()


@pytest.mark.parametrize("aligned", [True, False])
@pytest.mark.parametrize("samples", [2, -1])
def test_regions(aligned, samples):
    torch.manual_seed(0)
    network = Aligning(aligned, samples)

    def regions(n_images):
        boxes = candidates(n_images, 1)[0][:, 0]
        return torch.cat((torch.randperm(n_images)[:, None].float(), boxes), 1)

    outputs = session_of(network, torch.rand(2, 4, 16, 20), regions(2))
    for n_images in (2, 5):
        given = torch.rand(n_images, 4, 16, 20), regions(n_images)
        torch.testing.assert_close(outputs(*given), network(*given), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("n", [300, 30_000])
def test_order_of_equal_scores(n):
    torch.manual_seed(0)
    outputs = session_of(Ordering(), tied(2, n))
    for n_images in (1, 5):
        scores = tied(n_images, n)
        places = outputs(scores)
        assert torch.equal(places, highest(scores, 50)[1])
        # The last ones are equal to others that were left out.
        sure = [i for i in range(50) if scores[0, places[0, i]] > scores[0, places[0, -1]]]
        expected = sorted(range(n), key=lambda at: (-scores[0, at].item(), at))
        assert places[0, : len(sure)].tolist() == expected[: len(sure)]


class Ordering(nn.Module):
    def forward(self, scores):
        return highest(scores, 50)[1]


def tied(n_images, n):
    """Ten scores that are higher than the others, of which each occurs many times."""
    scores = torch.rand(n_images, n) / 2
    for row in scores:
        row[torch.randperm(n)[:45]] = torch.randint(5, 10, (45,)) / 10
    return scores
