"""scikit-learn's own checks.

The estimators take images, and by their honest tags most checks are skipped. So the classifier
is also checked with an extraction that is the identity: all but the network.
"""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import SkipTestWarning
from sklearn.utils.estimator_checks import estimator_checks_generator, parametrize_with_checks
from sklearn.utils.validation import validate_data

from transferkit.estimators import FeatureExtractor, FineTuneClassifier, TransferClassifier

pytestmark = pytest.mark.checks


class ClassifierOfArrays(TransferClassifier):
    """Its images are rows of features already."""

    def __init__(self, head="linear"):
        super().__init__("identity", head)

    def fit(self, images, y=None, *, sample_weight=None):
        """Count the columns, as an estimator on arrays does."""
        several = np.asarray(y).ndim == 2 and np.asarray(y).shape[1] > 1
        images, y = validate_data(
            self, images, y, dtype=[np.float64, np.float32], multi_output=several
        )
        return super().fit(images, y, sample_weight=sample_weight)

    def _extractor(self):
        return None

    def _rows(self, images, on_error="raise", *, is_training=False):
        X = validate_data(self, images, dtype=[np.float64, np.float32], reset=False)
        return X, np.arange(len(X)), [row.tobytes()[:16].ljust(16) for row in X], []

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.no_validation = False
        tags.input_tags.two_d_array = True
        return tags


# As of the head itself, see tests/heads/test_common.py.
EXPECTED_FAILURES = {
    "check_sample_weight_equivalence_on_dense_data": (
        "weights and repeated rows draw different hold-outs, so C differs"
    ),
}
EXTRACTOR = FeatureExtractor("test_resnet", pretrained=False, image_size=64, store=False)
ON_IMAGES = [EXTRACTOR, TransferClassifier(EXTRACTOR), FineTuneClassifier(EXTRACTOR)]


def checks_of(estimator):
    """(estimator, check) pairs; that there are few for other input than 2-D arrays is known."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SkipTestWarning)
        return list(estimator_checks_generator(estimator))


CHECKS_ON_IMAGES = [pair for estimator in ON_IMAGES for pair in checks_of(estimator)]


def test_how_many_checks_run():
    assert len(checks_of(ClassifierOfArrays())) >= 50
    # Of all checks only that they can be cloned: the others want 2-D arrays.
    assert [type(estimator) for estimator, _ in CHECKS_ON_IMAGES] == [type(e) for e in ON_IMAGES]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks(
    [ClassifierOfArrays()], expected_failed_checks=lambda estimator: EXPECTED_FAILURES
)
def test_classifier_of_arrays(estimator, check):
    check(estimator)


@pytest.mark.parametrize(("estimator", "check"), CHECKS_ON_IMAGES)
def test_estimators_on_images(estimator, check):
    check(estimator)
