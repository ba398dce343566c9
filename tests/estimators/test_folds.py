"""Models of folds are fitted by the workers that the user names to joblib."""

import threading

import joblib
import numpy as np
import pytest
from sklearn.neighbors import NearestCentroid

from transferkit import TransferClassifier
from transferkit.datasets import Dataset, folds
from transferkit.estimators import fit_folds

DATA = Dataset(
    X=(X := np.random.default_rng(0).normal(size=(30, 4))),
    y=np.where(X[:, 0] > 0, "yes", "no"),
)


class CentroidsOfAThread(NearestCentroid):
    """Remembers which thread has fitted it."""

    def fit(self, X, y):
        self.thread_ = threading.current_thread().name
        return super().fit(X, y)


@pytest.fixture
def whole():
    return TransferClassifier("resnet18", CentroidsOfAThread()).fit_features(DATA)


def predictions(whole, is_here):
    models = fit_folds(whole, DATA, folds(30, 5, 0))
    threads = {model.head_.thread_ for model in models.models}
    assert (threads == {threading.current_thread().name}) == is_here
    return models.predict_features(DATA.X)


def test_workers_of_joblib(whole):
    expected = predictions(whole, is_here=True)
    with joblib.parallel_config("threading", n_jobs=2):
        np.testing.assert_array_equal(predictions(whole, is_here=False), expected)


def test_workers_of_dask(whole):
    distributed = pytest.importorskip("distributed")
    expected = predictions(whole, is_here=True)
    client = distributed.Client(processes=False, n_workers=1, dashboard_address=None)
    with client, joblib.parallel_config("dask"):
        np.testing.assert_array_equal(predictions(whole, is_here=False), expected)
