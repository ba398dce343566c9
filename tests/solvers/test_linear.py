"""The solver of linear heads against scikit-learn's, at tight tolerances, on random problems."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from transferkit.heads.linear import LinearClassifier
from transferkit.solvers import objective
from transferkit.solvers import path as path_module
from transferkit.solvers.linear import Problems
from transferkit.solvers.losses import Hinge, Insensitive, Sigmoid, Softmax
from transferkit.solvers.rows import Design

TIGHT = {"tol": 1e-9, "max_iter": 200}


def problem(n=200, d=12, n_classes=3, noise=1.0, seed=0):
    """Random rows and labels; every class occurs, and without noise they are separable."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d))
    scores = X @ rng.normal(size=(d, n_classes)) + noise * rng.gumbel(size=(n, n_classes))
    y = scores.argmax(axis=1)
    y[:n_classes] = np.arange(n_classes)
    return X, y


def reference(X, y, C, weight=None):
    model = LogisticRegression(C=C, tol=1e-10, max_iter=100_000)
    return model.fit(X, y, sample_weight=weight)


def agree(found, expected, rtol=1e-4):
    """Within rtol of the largest."""
    scale = np.abs(expected).max()
    np.testing.assert_allclose(found / scale, expected / scale, rtol=0, atol=rtol)


@pytest.mark.parametrize("n_classes", [2, 3, 10, 50])
@pytest.mark.parametrize("C", [1e-3, 1.0, 100.0])
def test_coefficients_are_scikit_learns(n_classes, C):
    X, y = problem(n=400, n_classes=n_classes)
    found = Problems.logistic([(X, None)], y, standardize=False).solve(C, **TIGHT)
    expected = reference(X, y, C)
    assert found.converged.all()
    assert found.coef.shape == expected.coef_.shape
    agree(found.coef, expected.coef_)
    agree(found.intercept, expected.intercept_)


def test_two_hundred_classes():
    X, y = problem(n=600, d=20, n_classes=200)
    found = Problems.logistic([(X, None)], y, standardize=False).solve(0.1, **TIGHT)
    agree(found.coef, reference(X, y, 0.1).coef_)


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize("C", [0.01, 10.0])
@pytest.mark.parametrize("seed", range(3))
def test_with_weights(n_classes, C, seed):
    X, y = problem(n_classes=n_classes, seed=seed)
    weight = np.random.default_rng(seed).exponential(size=len(y)) ** 2
    found = Problems.logistic([(X, None)], y, weight, standardize=False).solve(C, **TIGHT)
    expected = reference(X, y, C, weight)
    agree(found.coef, expected.coef_)
    agree(found.intercept, expected.intercept_)


@pytest.mark.parametrize("n_classes", [2, 5])
@pytest.mark.parametrize("C", [1.0, 1e3])
def test_separable_rows(n_classes, C):
    X, y = problem(n=60, d=80, n_classes=n_classes, noise=0)
    found = Problems.logistic([(X, None)], y, standardize=False).solve(C, **TIGHT)
    expected = reference(X, y, C)
    assert found.converged.all()
    agree(found.coef, expected.coef_, 1e-3 if C > 1 else 1e-4)


@pytest.mark.parametrize("n", [50, 200])
def test_dependent_and_constant_features(n):
    X, y = problem(n=n)
    X = np.column_stack([X, X[:, :4] + X[:, 4:8], X[:, 0], np.full(n, 7.0), np.zeros(n)])
    found = Problems.logistic([(X, None)], y, standardize=False).solve(1.0, **TIGHT)
    expected = reference(X, y, 1.0)
    agree(found.coef, expected.coef_)
    assert (found.coef[:, -2:] == 0).all()


def test_badly_scaled_features():
    X, y = problem()
    X *= 10 ** np.linspace(-3, 3, X.shape[1])
    X += 100
    found = Problems.logistic([(X, None)], y, standardize=False).solve(1.0, **TIGHT)
    # scikit-learn needs centred rows to arrive here at all; a free intercept allows that.
    model = LogisticRegression(C=1.0, tol=1e-10, max_iter=1000, solver="newton-cholesky")
    agree(found.coef, model.fit(X - X.mean(axis=0), y).coef_)


@pytest.mark.parametrize("shape", [(5, 3), (5, 40)])
def test_one_sample_per_class(shape):
    X = np.random.default_rng(0).normal(size=shape)
    found = Problems.logistic([(X, None)], np.arange(5), standardize=False).solve(1.0, **TIGHT)
    expected = reference(X, np.arange(5), 1.0)
    agree(found.coef, expected.coef_)
    agree(found.intercept, expected.intercept_)


def test_float32_with_a_tight_tolerance_goes_on_in_float64():
    X, y = problem(n=60_000, d=12, n_classes=3)
    X = X.astype(np.float32)
    found = Problems.logistic([(X, None)], y, standardize=False).solve(1.0, **TIGHT)
    assert found.converged.all()
    agree(found.coef, reference(X.astype(float), y, 1.0).coef_)


# With 12 strengths of few classes, some are solved side by side.
@pytest.mark.parametrize(
    ("n_classes", "n_Cs", "n_led"), [(2, 12, 5), (4, 12, 5), (4, 5, 5), (7, 13, 5), (30, 12, 12)]
)
def test_a_path_arrives_where_single_fits_do(n_classes, n_Cs, n_led, monkeypatch):
    monkeypatch.setattr(path_module, "SMALL", 0)
    solved = _counted(monkeypatch)
    X, y = problem(n_classes=n_classes)
    Cs = np.geomspace(1e-4, 1e3, n_Cs)
    problems = Problems.logistic([(X, None)], y)
    for C, fit, scores in problems.path(Cs, [(X, np.arange(7))], tol=1e-5, max_iter=100):
        alone = problems.solve(C, tol=1e-9, max_iter=100)
        assert fit.converged.all()
        assert fit.objective == pytest.approx(alone.objective, rel=1e-5)
        assert (fit.objective >= alone.objective * (1 - 1e-12)).all()
        np.testing.assert_allclose(scores, X[:7] @ fit.coef.T + fit.intercept, atol=1e-8)
    if n_led == n_Cs:
        assert solved == [1] * n_Cs
    else:
        assert solved.count(1) == n_led
        assert sum(solved) == n_Cs


def _counted(monkeypatch):
    """How many strengths each solve took at once."""
    solved = []
    minimise = path_module.minimise

    def counted(design, loss, penalty, **options):
        solved.append(len(penalty))
        return minimise(design, loss, penalty, **options)

    monkeypatch.setattr(path_module, "minimise", counted)
    return solved


def test_whoever_stops_on_a_path_pays_for_little_more(monkeypatch):
    monkeypatch.setattr(path_module, "SMALL", 0)
    solved = _counted(monkeypatch)
    X, y = problem(n_classes=3)
    problems = Problems.logistic([(X, None)], y)
    path = problems.path(np.geomspace(1e-4, 1e3, 30), [(X, None)], tol=1e-3, max_iter=100)
    for n_taken, _ in enumerate(path, 1):
        assert n_taken <= sum(solved) <= n_taken + 6
    assert sum(solved) == 30


def test_equal_strengths_on_a_path():
    X, y = problem(n_classes=3)
    problems = Problems.logistic([(X, None)], y)
    path = list(problems.path(np.ones(4), [(X[:1], None)], tol=1e-6, max_iter=100))
    for _, fit, _ in path:
        assert fit.converged.all()
        assert fit.objective == pytest.approx(path[0][1].objective, rel=1e-6)


def test_the_gap_is_about_the_distance_from_the_optimum():
    X, y = problem(n=1000, d=30, n_classes=5)
    problems = Problems.logistic([(X, None)], y)
    best = problems.solve(1.0, **TIGHT).objective
    for tol in (1e-2, 1e-3, 1e-4):
        fit = problems.solve(1.0, tol=tol, max_iter=100)
        assert fit.objective / best - 1 <= 2 * tol


def test_rough_products_lead_to_the_same_place(monkeypatch):
    X, y = problem(n=40_000, d=16, n_classes=4)
    X = X.astype(np.float32)
    found = []
    for dtype in (None, torch.bfloat16):
        monkeypatch.setattr(objective, "LARGE", 0)
        monkeypatch.setattr(objective, "quick_dtype", lambda device, dtype=dtype: dtype)
        problems = Problems.logistic([(X, None)], y)
        found.append(problems.solve(1.0, tol=1e-6, max_iter=100))
        path = problems.path(np.geomspace(0.1, 10, 7), [(X[:1], None)], tol=1e-5, max_iter=100)
        *_, (_, middle, _), _, _, _ = path
        assert middle.objective == pytest.approx(found[-1].objective, rel=2e-5)
    assert found[1].converged.all()
    assert found[1].objective == pytest.approx(found[0].objective, rel=1e-6)
    agree(found[1].coef, found[0].coef, 1e-3)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_rows_in_a_file_are_read_block_by_block(dtype, tmp_path, monkeypatch):
    X, y = problem(n=3000, d=16)
    X = X.astype(dtype)
    np.save(tmp_path / "X.npy", X)
    expected = LinearClassifier(C=1.0).fit(X.astype(np.float32), y)
    monkeypatch.setattr("transferkit.solvers.rows.BLOCK", 5000)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    problems = Problems.logistic([(mapped, np.arange(100)), (mapped, np.arange(100, 3000))], y)
    assert not problems.design._kept
    head = LinearClassifier(C=1.0).fit(mapped, y)
    np.testing.assert_allclose(head.coef_, expected.coef_, atol=1e-4)
    np.testing.assert_allclose(
        head.predict_proba(mapped), expected.predict_proba(X.astype(np.float32)), atol=1e-4
    )
    held = LinearClassifier().fit(mapped[:2000], y[:2000], validation=(mapped[2000:], y[2000:]))
    whole = LinearClassifier().fit(
        X[:2000].astype(np.float32), y[:2000], validation=(X[2000:].astype(np.float32), y[2000:])
    )
    assert held.C_ == whole.C_
    np.testing.assert_allclose(held.coef_, whole.coef_, atol=1e-3)


def test_several_labels_equal_single_ones():
    X, _ = problem()
    Y = (X[:, :3] + np.random.default_rng(1).normal(size=(len(X), 3)) > [0, 0.5, 1]).astype(int)
    together = LinearClassifier(C=0.5, tol=1e-9).fit(X, Y)
    for j in range(3):
        alone = LinearClassifier(C=0.5, tol=1e-9).fit(X, Y[:, j])
        np.testing.assert_allclose(together.coef_[j], alone.coef_[0], atol=1e-6)
    tuned = LinearClassifier(tol=1e-6).fit(X, Y)
    for j in range(3):
        alone = LinearClassifier(tol=1e-6).fit(X, Y[:, j])
        assert tuned.C_[j] == alone.C_
        np.testing.assert_allclose(tuned.coef_[j], alone.coef_[0], atol=1e-4)


def test_folds_choose_C():
    X, y = problem(n=150)
    head = LinearClassifier(folds=5, n_candidates=6).fit(X, y)
    assert len(head.C_path_) == 6
    assert min(head.C_path_, key=lambda point: point["log_loss"])["C"] == head.C_
    with pytest.raises(ValueError, match="folds is 1; give None or a whole number above 1"):
        LinearClassifier(folds=1).fit(X, y)


def test_label_smoothing_is_a_mixture_of_targets():
    X, y = problem()
    smoothed = LinearClassifier(C=1.0, label_smoothing=0.3, tol=1e-9).fit(X, y)
    # The same as every row with every label, weighted by the smoothed target.
    weight = np.where(np.arange(3) == y[:, None], 0.8, 0.1)
    rows, labels = np.repeat(X, 3, axis=0), np.tile(np.arange(3), len(y))
    mixed = LinearClassifier(C=1.0, tol=1e-9).fit(rows, labels, sample_weight=weight.ravel())
    np.testing.assert_allclose(smoothed.coef_, mixed.coef_, atol=1e-6)
    two = y == 0
    smoothed = LinearClassifier(C=1.0, label_smoothing=0.3, tol=1e-9).fit(X, two)
    weight = np.where(np.arange(2) == two[:, None], 0.85, 0.15)
    rows, labels = np.repeat(X, 2, axis=0), np.tile(np.arange(2), len(y))
    mixed = LinearClassifier(C=1.0, tol=1e-9).fit(rows, labels, sample_weight=weight.ravel())
    np.testing.assert_allclose(smoothed.coef_, mixed.coef_, atol=1e-6)


@pytest.mark.parametrize("d", [12, 500])
def test_a_warm_start_is_at_the_goal(d):
    X, y = problem(d=d)
    head = LinearClassifier(C=1.0, tol=1e-5, warm_start=True).fit(X, y)
    cold, first = head.coef_, head.n_iter_
    head.fit(X, y)
    assert head.n_iter_ == 0 < first
    np.testing.assert_allclose(head.coef_, cold, atol=1e-6)
    assert head.fit(X[:, :5], y).coef_.shape == (3, 5)


def test_a_fit_reports_how_it_was_solved():
    X, y = problem(d=5)
    head = LinearClassifier(C=2.0, tol=1e-8, standardize=False).fit(X, y)
    model = reference(X, y, 2.0)
    losses = -model.predict_log_proba(X)[np.arange(len(y)), y]
    assert head.objective_ == pytest.approx(2 * losses.sum() + (model.coef_**2).sum() / 2)
    assert head.gradient_ <= 1e-8
    assert head.gap_ <= 1e-8
    path = LinearClassifier(n_candidates=4).fit(X, y).C_path_
    assert all(point["gap"] <= 5e-4 and point["objective"] > 0 for point in path)


@pytest.mark.parametrize("C", [1e-3, 1.0])
@pytest.mark.parametrize("n_classes", [2, 6])
def test_the_linear_machine_is_liblinears(C, n_classes):
    X, y = problem(n_classes=n_classes)
    hot = 2.0 * (y[:, None] == np.arange(n_classes)) - 1
    hot = hot[:, 1:] if n_classes == 2 else hot
    found = Problems.margins(X, hot).solve(C, **TIGHT)
    # A large scale all but frees the intercept, which liblinear penalises.
    plain = LinearSVC(C=C, tol=1e-8, max_iter=1_000_000, intercept_scaling=100).fit(X, y)
    agree(found.coef, plain.coef_, 1e-3)


def losses(n=7, n_classes=3):
    rng = np.random.default_rng(0)
    weight = torch.tensor(rng.dirichlet(np.ones(n), size=2))
    signs = torch.tensor(rng.choice([-1.0, 1.0], size=(2, n)))
    codes = torch.tensor(rng.integers(n_classes, size=n))
    return {
        "softmax": Softmax(codes, weight, n_classes),
        "smoothed": Softmax(codes, weight, n_classes, 0.2),
        "sigmoid": Sigmoid(signs, weight),
        "smoothed sigmoid": Sigmoid(signs, weight, 0.2),
        "hinge": Hinge(signs, weight),
        "insensitive": Insensitive(0.7 * signs, weight, 0.1),
    }


@pytest.mark.parametrize("name", losses())
def test_derivatives_of_a_loss(name):
    loss, part = losses()[name], slice(0, 7)
    rng = np.random.default_rng(1)
    scores = torch.tensor(rng.normal(size=(2, loss.n_scores, 7)))
    change = torch.tensor(rng.normal(size=scores.shape))
    _, slope, memory = loss.slopes(scores.clone(), part)
    h = 1e-6
    up, slope_up, _ = loss.slopes(scores + h * change, part)
    down, slope_down, _ = loss.slopes(scores - h * change, part)
    expected = (slope * change).sum(dim=(1, 2))
    torch.testing.assert_close((up - down) / (2 * h), expected, rtol=1e-5, atol=1e-8)
    bent = loss.bend(change.clone(), memory, part)
    torch.testing.assert_close(bent, (slope_up - slope_down) / (2 * h), rtol=1e-5, atol=1e-8)
    unit = torch.zeros_like(scores)
    unit[:, 0] = 1
    diagonal = loss.bend(unit, memory, part)[:, 0].sum(dim=1)
    torch.testing.assert_close(loss.curvature(memory, part)[:, 0], diagonal)


def test_softmax_keeps_the_digits_of_small_losses():
    weight = torch.ones(1, 1)
    scores = torch.tensor([[[30.0], [0.0], [-5.0]]])
    value, slope, _ = Softmax(torch.tensor([0]), weight, 3).slopes(scores, slice(0, 1))
    small = np.exp(-30.0) + np.exp(-35.0)
    assert float(value) == pytest.approx(small, rel=1e-5)
    assert float(slope[0, 0, 0]) == pytest.approx(-small, rel=1e-5)
    far = torch.tensor([[[-1e4], [0.0], [1e4]]])
    value, slope, _ = Softmax(torch.tensor([0]), weight, 3).slopes(far, slice(0, 1))
    assert float(value) == pytest.approx(2e4)
    np.testing.assert_allclose(slope[0, :, 0], [-1, 0, 1])


def test_few_rows_are_solved_in_their_own_space():
    X, _ = problem(n=30, d=300)
    design = Design([(X, None)], None, standardize=True)
    assert design.d == 30
    assert next(design.blocks(torch.float64))[1].shape == (30, 30)
    coef = np.random.default_rng(0).normal(size=(3, 30)) @ X
    again = design.given(
        *design.taken(design.given(*design.taken(coef, np.ones(3)))[0], np.ones(3))
    )
    np.testing.assert_allclose(again[0], design.given(*design.taken(coef, np.ones(3)))[0])
