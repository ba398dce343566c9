"""The loop of detection, on random maps: it learns, and measures as a plain loop does."""

import functools

import numpy as np
import pytest
import torch

from transferkit.annotations import VOID
from transferkit.dense.detection import Suppression, Target, suppressed
from transferkit.dense.fitting import fit_network
from transferkit.dense.kinds.detection import KIND
from transferkit.dense.network import DetectionNetwork, Level
from transferkit.dense.object_loop import create_object_loop, predicted_counts
from transferkit.dense.recipe import DetectionRecipe
from transferkit.dense.samples import ObjectSamples
from transferkit.training import Processes

SIZE = (32, 48)
RULE = Suppression(score=0.0, limit=30)
LEVELS = [Level("fine", 3, 4), Level("coarse", 5, 8)]


def target(boxes, labels):
    boxes = np.array(boxes, dtype=np.float32).reshape(-1, 4)
    return Target(boxes=torch.from_numpy(boxes), labels=torch.tensor(labels, dtype=torch.int64))


def samples(n=6, seed=0, objects=None):
    """Maps on which the place of an object is bright, in the channel of its class."""
    rng = np.random.default_rng(seed)
    levels = [
        rng.normal(size=(n, level.channels, SIZE[0] // level.stride, SIZE[1] // level.stride)) * 0.1
        for level in LEVELS
    ]
    if objects is None:
        objects = []
        for i in range(n):
            left, top = 8 * rng.integers(0, 4), 8 * rng.integers(0, 2)
            objects.append(target([[left, top, left + 16, top + 16]], [1 + i % 2]))
    for i, one in enumerate(objects):
        for (left, top, right, bottom), label in zip(
            one["boxes"].int().tolist(), one["labels"].tolist(), strict=True
        ):
            for level, maps in zip(LEVELS, levels, strict=True):
                s = level.stride
                maps[i, max(label, 0), top // s : bottom // s, left // s : right // s] += 3
    return ObjectSamples([[maps.astype(np.float16) for maps in levels]], [objects])


def network(seed=0, **options):
    torch.manual_seed(seed)
    return DetectionNetwork(
        LEVELS, 3, head="fcos", neck="none", head_options={"width": 16, "depth": 1, **options}
    )


def fitted(train, held, folder, net=None, rule=RULE, epochs=1, **options):
    loop = functools.partial(
        create_object_loop, size=SIZE, n_classes=3, n_objects=train.n_objects, rule=rule, kind=KIND
    )
    recipe = DetectionRecipe(epochs=epochs, batch_size=2, learning_rate=0.02)
    net = network() if net is None else net
    processes = Processes(torch.device("cpu"))
    return fit_network(loop, net, train, held, recipe, processes, folder, draws=False, **options)


def overlap(one, other):
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    both = np.prod(np.clip(high - low, 0, None))
    return both / (np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2]) - both)


def plain_average_precision(net, held, rule):
    """Image by image, object by object; precision at 101 recalls, the mean over ten overlaps."""
    found, truth = [], []
    for i in range(len(held)):
        maps, one = held[(i, -1)]
        with torch.inference_mode():
            boxes, scores, labels = suppressed(net([m[None] for m in maps], SIZE), rule)
        for box, score, label in zip(boxes[0].numpy(), scores[0].numpy(), labels[0].numpy(),
                                     strict=True):  # fmt: skip
            if score > 0:
                found.append((float(score), i, int(label), box.astype(float)))
        for box, label in zip(one["boxes"].numpy(), one["labels"].numpy(), strict=True):
            truth.append((i, int(label), box.astype(float)))
    found.sort(key=lambda each: -each[0])
    values = []
    for label in (1, 2):
        for threshold in np.arange(0.5, 1, 0.05):
            taken, hits = set(), []
            for _, i, named, box in found:
                if named != label:
                    continue
                free = [
                    (overlap(box, other), j)
                    for j, (image, true, other) in enumerate(truth)
                    if image == i and true == label and j not in taken
                ]
                best = max(free, default=(0, None))
                hits.append(best[0] >= threshold)
                if hits[-1]:
                    taken.add(best[1])
            n = sum(true == label for _, true, _ in truth)
            right = np.cumsum(hits)
            precision = right / (np.arange(len(hits)) + 1)
            values += [
                precision[right >= recall * n - 1e-9].max(initial=0)
                for recall in np.linspace(0, 1, 101)
            ]
    return np.mean(values)


def test_it_learns_and_the_best_epoch_is_that_of_a_plain_measurement(tmp_path):
    train, held = samples(12), samples(6, seed=1)
    net = network()
    history = fitted(train, held, tmp_path, net, epochs=12)
    assert history[-1]["train_loss"] < 0.7 * history[1]["train_loss"]
    best = max(line["val_metric"] for line in history)
    assert best > 0.3
    assert plain_average_precision(net.eval(), held, RULE) == pytest.approx(best, abs=1e-6)


def test_what_is_counted_does_not_depend_on_the_batches(monkeypatch):
    held, net = samples(5), network().eval()
    whole = predicted_counts(net, held, SIZE, 3, RULE, KIND)
    monkeypatch.setattr("transferkit.dense.object_loop._EVALUATED_AT_ONCE", 2)
    parts = predicted_counts(net, held, SIZE, 3, RULE, KIND)
    assert parts.average_precision() == pytest.approx(whole.average_precision())


def test_an_ignored_object_counts_neither_way():
    held, net = samples(4), network().eval()
    ignored = [target(one["boxes"].numpy(), [VOID] * len(one["labels"])) for one in held.objects[0]]
    counts = predicted_counts(net, samples(4, objects=ignored), SIZE, 3, RULE, KIND)
    assert np.isnan(counts.average_precision())


def test_without_an_object_there_is_nothing_to_learn(tmp_path):
    for objects in ([target([], [])] * 2, [target([[0, 0, 8, 8]], [VOID])] * 2):
        with pytest.raises(ValueError, match="no object in the training images; give annotations"):
            fitted(samples(2, objects=objects), None, tmp_path)


BOX = [8, 8, 24, 24]


@pytest.mark.parametrize(
    "changed",
    [
        [([[8, 8, 24, 25]], [1]), ([], [])],
        [([BOX], [2]), ([], [])],
        [([BOX], [VOID]), ([BOX], [1])],
        # The same boxes in the same order, but on the other image.
        [([], []), ([BOX], [1])],
    ],
)
def test_a_checkpoint_of_other_objects_is_refused(tmp_path, changed):
    first = samples(2, objects=[target([BOX], [1]), target([], [])])
    history = fitted(first, None, tmp_path, keys=["a"])
    other = samples(2, objects=[target(*one) for one in changed])
    with pytest.raises(ValueError, match="other"):
        fitted(other, None, tmp_path, keys=["a"], resume=True)
    with pytest.raises(ValueError, match="other"):
        fitted(first, None, tmp_path, keys=["b"], resume=True)
    assert str(fitted(first, None, tmp_path, keys=["a"], resume=True)) == str(history)


def test_training_twice_gives_the_same_weights(tmp_path):
    nets = [network() for _ in range(2)]
    for i, net in enumerate(nets):
        fitted(samples(4), None, tmp_path / str(i), net)
    a, b = (net.state_dict() for net in nets)
    assert all((a[name] == b[name]).all() for name in a)
