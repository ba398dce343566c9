"""Every protocol against its plain second implementation."""

import numpy as np
import pytest

from tests.protocols.plain import PLAIN
from transferkit.protocols import Parts, create_protocol, protocol_names

pytestmark = pytest.mark.suites

# The largest difference of scores that rounding and the solvers' tolerances explain; liblinear
# is as rough as published.
ALLOWED = {"uni-logreg": 1e-3, "vissl-svm": 5e-2}


def rows(n, seed, d=60, n_classes=3):
    random = np.random.default_rng(seed)
    y = np.tile(np.arange(n_classes), n)[:n]
    return random.normal(size=(n, d)) + 1.5 * np.eye(n_classes, d)[y] + 0.3, y


def centred(scores):
    """What all classes share decides nothing, and no penalty holds it."""
    return scores - scores.mean(axis=1, keepdims=True)


def both(name):
    train, val, (test, _) = rows(90, 0), rows(45, 1), rows(30, 2)
    probe = create_protocol(name).fit(Parts(*train, val), 0)
    scores, chosen = PLAIN[name](train, val, test)
    return probe, probe.scores(test), scores, chosen


def test_every_protocol_has_a_second_implementation():
    assert {name.replace("knn20", "knn") for name in PLAIN} == set(protocol_names())
    assert len(PLAIN) == len(protocol_names())


@pytest.mark.parametrize("name", PLAIN)
def test_agrees(name):
    probe, ours, plain, chosen = both(name)
    np.testing.assert_allclose(centred(ours), centred(plain), rtol=0, atol=ALLOWED.get(name, 1e-4))
    assert (ours.argmax(axis=1) == plain.argmax(axis=1)).all()
    if chosen is not None:
        found = probe.chosen["weight_decay" if name == "clip-benchmark" else "C"]
        np.testing.assert_allclose(found, chosen, rtol=1e-9)
