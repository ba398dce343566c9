"""Every protocol a second time: scikit-learn, SciPy or a few lines of numpy, slow and plain.

Each takes training rows, validation rows or None, and test rows, and returns scores of the
test rows and the hyper-parameter that it chose (None where there's nothing to choose).
"""

import numpy as np
from scipy.optimize import minimize
from scipy.special import log_softmax
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.neighbors import NearestCentroid

from transferkit.metrics import average_precision_11

__all__ = ["PLAIN"]


def logreg(X, y, C):
    # Not lbfgs, which stops before the intercepts have moved where C is tiny.
    return LogisticRegression(C=C, solver="newton-cg", tol=1e-10, max_iter=10_000).fit(X, y)


def wide(model, X):
    return model.decision_function(X)


def best_C(train, val, Cs):
    accuracy = [logreg(*train, C).score(*val) for C in Cs]
    return Cs[int(np.argmax(accuracy))]


def joined(train, val):
    return tuple(np.concatenate(pair) for pair in zip(train, val, strict=True))


def selected(Cs):
    def run(train, val, test):  # Cs fall, so the first of equals has the smallest λ
        C = best_C(train, val, Cs)
        return wide(logreg(*joined(train, val), C), test), C

    return run


def clip(train, val, test):
    tried = {}

    def visit(exponents):
        for e in sorted(exponents):  # of λ, so the least penalised of equals comes first
            if -6 <= e <= 6 and e not in tried:
                tried[e] = logreg(*train, 10.0**-e).score(*val)
        return max(sorted(tried), key=lambda e: tried[e])

    peak = visit([-6, -4, -2, 0, 2, 4, 6])
    for step in (1, 0.5, 0.25, 0.125):
        peak = visit([peak - step, peak + step])
    return wide(logreg(*joined(train, val), 10.0**-peak), test), 10.0**-peak


def unit(X):
    return X / np.linalg.norm(X, axis=1, keepdims=True)


def neighbours(k, weigh, place):
    def run(train, val, test):
        rows, queries = place(train[0], train[0]), place(train[0], test)
        votes = np.zeros((len(test), train[1].max() + 1))
        for i, query in enumerate(queries):
            distances = np.linalg.norm(rows - query, axis=1)
            for j in np.argsort(distances, kind="stable")[:k]:
                votes[i, train[1][j]] += weigh(rows[j] @ query)
        return np.log(np.maximum(votes / votes.sum(axis=1, keepdims=True), 1e-12)), None

    return run


def bigvision(train, val, test):
    mean, std = train[0].mean(axis=0), train[0].std(axis=0) + 1e-5

    def place(X):
        return np.hstack([(X - mean) / std, np.full((len(X), 1), 100.0)])

    targets = np.where(train[1][:, None] == np.arange(train[1].max() + 1), 1.0, -1.0)
    model = Ridge(alpha=1024, fit_intercept=False).fit(place(train[0]), targets)
    return model.predict(place(test)), None


def simpleshot(train, val, test):
    mean = train[0].mean(axis=0)
    model = NearestCentroid().fit(unit(train[0] - mean), train[1])
    distances = np.linalg.norm(unit(test - mean)[:, None] - model.centroids_, axis=2)
    return -(distances**2), None


def uni(train, val, test):
    X, y = joined(train, val)
    n, d = X.shape
    K = y.max() + 1
    C = d * K / 100

    def loss(theta):
        W, b = theta[: d * K].reshape(K, d), theta[d * K :]
        logp = log_softmax(X @ W.T + b, axis=1)
        slope = (np.exp(logp) - np.eye(K)[y]) / n
        norm = np.linalg.norm(W)
        gradient = slope.T @ X + 0.5 * W / norm / C
        value = -logp[np.arange(n), y].mean() + 0.5 * norm / C
        return value, np.concatenate([gradient.ravel(), slope.sum(axis=0)])

    start = np.random.default_rng(0).normal(size=d * K + K) * 0.01
    options = {"maxiter": 20_000, "maxfun": 100_000, "ftol": 1e-15, "gtol": 1e-9}
    theta = minimize(loss, start, jac=True, method="L-BFGS-B", options=options).x
    return test @ theta[: d * K].reshape(K, d).T + theta[d * K :], C


def vissl(train, val, test):
    """Primal: squared hinge and a penalised intercept, as liblinear's dual solves it."""
    X, y = joined(train, val)
    grid = (0.01, 0.1, 1, 2, 5, 10, 15, 20, 50, 100, 1000)

    def place(rows):
        length = np.linalg.norm(rows, axis=1, keepdims=True) + 1e-5
        return np.hstack([rows / length, np.ones((len(rows), 1))])

    def solved(A, signs, C):
        cost = C * np.where(signs > 0, 2, 1)

        def loss(w):
            margin = np.maximum(0, 1 - signs * (A @ w))
            return w @ w / 2 + cost @ margin**2, w - 2 * A.T @ (cost * signs * margin)

        options = {"maxiter": 20_000, "maxfun": 100_000, "ftol": 1e-15, "gtol": 1e-8}
        return minimize(loss, np.zeros(A.shape[1]), jac=True, method="L-BFGS-B", options=options).x

    A, scores, chosen = place(X), [], []
    for c in range(y.max() + 1):
        signs = np.where(y == c, 1.0, -1.0)
        folds = np.empty(len(y), int)
        for sign in (-1, 1):  # consecutive blocks of each class, as StratifiedKFold has them
            rows = np.flatnonzero(signs == sign)
            folds[rows] = _fold_sizes(signs, sign)
        means = []
        for C in grid:
            parts = []
            for fold in range(3):
                w = solved(A[folds != fold], signs[folds != fold], C)
                held = folds == fold
                parts.append(average_precision_11(signs[held] > 0, A[held] @ w))
            means.append(np.mean(parts))
        C = grid[int(np.argmax(means))]
        chosen.append(C)
        scores.append(place(test) @ solved(A, signs, C))
    return np.stack(scores, axis=1), chosen


def _fold_sizes(signs, sign):
    """Which fold each row of a class is in: the sorted classes dealt over three folds."""
    order = np.where(signs == signs[0], 0, 1)  # by first appearance
    code = 0 if sign == signs[0] else 1
    dealt = np.sort(order)
    sizes = [(dealt[fold::3] == code).sum() for fold in range(3)]
    return np.repeat(np.arange(3), sizes)


def clip_benchmark(train, val, test, lr=0.1, epochs=10, batch_size=64):
    """AdamW by hand; the draws are torch's, with the seed of the protocol."""
    import torch

    def trained(X, y, decay):
        X, K, d = unit(X), y.max() + 1, X.shape[1]
        g = torch.Generator().manual_seed(0)
        dtype = torch.float64
        W, b = (
            ((2 * torch.rand(shape, generator=g, dtype=dtype) - 1) * d**-0.5).numpy()
            for shape in ((K, d), (K,))
        )
        parameters = [W, b]
        m, v = [np.zeros_like(p) for p in parameters], [np.zeros_like(p) for p in parameters]
        n_batches = int(np.ceil(len(X) / batch_size))
        for t in range(epochs * n_batches):
            if t % n_batches == 0:
                order = torch.randperm(len(X), generator=g).numpy()
            at = t % n_batches
            rows = order[at * batch_size : (at + 1) * batch_size]
            slope = np.exp(log_softmax(X[rows] @ W.T + b, axis=1)) - np.eye(K)[y[rows]]
            gradients = [slope.T @ X[rows] / len(rows), slope.mean(axis=0)]
            rate = lr * (1 + np.cos(np.pi * t / (epochs * n_batches))) / 2
            for i, (p, gradient) in enumerate(zip(parameters, gradients, strict=True)):
                p *= 1 - rate * decay
                m[i] = 0.9 * m[i] + 0.1 * gradient
                v[i] = 0.999 * v[i] + 0.001 * gradient**2
                step = m[i] / (1 - 0.9 ** (t + 1))
                p -= rate * step / (np.sqrt(v[i] / (1 - 0.999 ** (t + 1))) + 1e-8)
        return W, b

    decays, tried = np.logspace(-6, 2, 97), {}

    def visit(indices):
        for i in indices:
            if 0 <= i <= 96 and i not in tried:
                W, b = trained(*train, decays[i])
                tried[i] = np.mean((unit(val[0]) @ W.T + b).argmax(axis=1) == val[1])
        return min(i for i in tried if tried[i] == max(tried.values()))

    peak = visit(range(0, 97, 16))
    for step in (8, 4, 2, 1):
        peak = visit([peak - step, peak + step])
    W, b = trained(*joined(train, val), decays[peak])
    return unit(test) @ W.T + b, decays[peak]


PLAIN = {
    "transfer-logreg": selected(1 / np.logspace(-6, 5, 45)),
    "dinov2-logreg": selected(np.logspace(5, -6, 45)),
    "torchgeo-linear": selected(np.logspace(4, -6, 40)),
    "clip": clip,
    "clip-benchmark": clip_benchmark,
    "dino-knn20": neighbours(20, lambda s: np.exp(s / 0.07), lambda _, X: unit(X)),
    "instdisc-knn": neighbours(200, lambda s: np.exp(s / 0.1), lambda _, X: unit(X)),
    "torchgeo-knn5": neighbours(5, lambda s: 1.0, lambda _, X: X),
    "uni-knn": neighbours(20, lambda s: 1.0, lambda T, X: unit(X - T.mean(axis=0))),
    "bigvision-fewshot": bigvision,
    "simpleshot": simpleshot,
    "uni-logreg": uni,
    "vissl-svm": vissl,
}
