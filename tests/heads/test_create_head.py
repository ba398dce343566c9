import subprocess
import sys

import pytest
from sklearn.linear_model import RidgeClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from transferkit.heads import HeadInfo, create_head, describe, head_names, linear


def test_a_name_gives_the_files_classifier():
    head = create_head("linear", C=0.5)
    assert type(head) is linear.LinearClassifier
    assert head.C == 0.5


def test_an_estimator_is_cloned():
    given = RidgeClassifier(alpha=2.0)
    head = create_head(given, alpha=3.0)
    assert (given.alpha, head.alpha) == (2.0, 3.0)


def test_parameters_of_a_pipelines_step():
    given = make_pipeline(StandardScaler(), RidgeClassifier())
    assert create_head(given, ridgeclassifier__alpha=7.0)[1].alpha == 7.0


def test_describe():
    info = describe("linear")
    assert isinstance(info, HeadInfo)
    assert info.name == "linear"
    assert info.tasks == ("classification", "regression")
    assert info.multilabel
    assert info.probabilities
    assert info.sample_weight
    assert info.summary == linear.__doc__.splitlines()[0]


def test_what_heads_can_do_is_asked_of_themselves():
    can = {name: describe(name) for name in head_names()}
    assert not can["knn"].sample_weight
    assert not can["lda"].multilabel
    assert not can["ridge"].probabilities
    assert not can["svm"].probabilities
    assert can["centroid"].probabilities


def test_every_head_has_a_summary_and_a_task():
    for name in head_names():
        assert describe(name).summary
        assert describe(name).tasks


def test_no_torch_is_imported():
    code = (
        "import sys; from transferkit.heads import *; [describe(n) for n in head_names()];"
        "assert not {'torch', 'timm'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize(
    ("head", "parameters", "error", "message"),
    [
        ("linaer", {}, ValueError, "unknown head 'linaer'; did you mean 'linear'"),
        ("linear", {"n_candidate": 3}, ValueError, "'n_candidate'; did you mean 'n_candidates'"),
        ("linear", {"task": "ranking"}, ValueError, "unknown task 'ranking'"),
        ("lda", {"task": "regression"}, ValueError, "head 'lda' doesn't do regression; "),
        (RidgeClassifier, {}, TypeError, r"is the class RidgeClassifier; .* RidgeClassifier\(\)"),
        (RidgeClassifier(), {"alhpa": 1}, ValueError, "RidgeClassifier: 'alhpa'.*'alpha'"),
        (3, {}, TypeError, "head is 3; give one of .*linear.* or a scikit-learn estimator"),
    ],
)
def test_errors_are_one_clear_sentence(head, parameters, error, message):
    with pytest.raises(error, match=message):
        create_head(head, **parameters)
