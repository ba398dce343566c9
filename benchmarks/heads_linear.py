"""Logistic regression against scikit-learn's: a sweep of 45 strengths, and one alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from heads_data import timed

# The 45 values of DINOv2's logistic regression.
CS = 10 ** np.linspace(-6, 5, 45)
PATH_TOL = 5e-4  # what the linear head solves its path to, at its default tol
COLD_EVERY = 5  # the cold loop is measured at every fifth value
# The loop at equal objective divides its tolerance by ten until it is this near to ours.
EQUAL = 1e-3
TOLS = (1e-4, 1e-5, 1e-6, 1e-7)
LIMIT = 150.0  # CPU seconds, after which a loop of scikit-learn's ends and says where


def objective(Z: np.ndarray, y: np.ndarray, C: float, coef: Any, intercept: Any) -> float:
    """scikit-learn's objective, in float64."""
    value = 0.0
    W, b = np.asarray(coef, np.float64), np.asarray(intercept, np.float64)
    for first in range(0, len(Z), 4096):
        s = Z[first : first + 4096].astype(np.float64) @ W.T + b
        z = s - s[np.arange(len(s)), y[first : first + 4096]][:, None]
        top = z.max(axis=1, keepdims=True)
        e = np.exp(z - top)
        e[np.arange(len(s)), y[first : first + 4096]] = 0
        value += float((top[:, 0] + np.log1p(e.sum(axis=1) + np.expm1(-top[:, 0]))).sum())
    return C * value + 0.5 * float((W**2).sum())


def sweep(data: dict[str, Any], Cs: np.ndarray) -> dict[str, Any]:
    """The whole path: ours; scikit-learn warm-started at two tolerances, and cold.

    Its tolerance is on the gradient, so at large C these loops stop far above the optimum.
    A third warm loop goes on at every C, with a tenth of the tolerance each time, until its
    objective is within 1e-3 of ours or float32 ends; only its fits are timed. The second
    cold loop is given the tolerance that this took. Ours is solved as a whole, at the first,
    the middle and the last value, and the median of the three counts.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    from transferkit.solvers.linear import LinearProblems

    (X, y), (X_val, y_val), (X_test, y_test) = data["train"], data["val"], data["test"]
    seconds: dict[str, list[float]] = {}
    results: dict[str, list[dict[str, float]]] = {"ours": []}

    def whole() -> tuple[Any, list[Any]]:
        problems = LinearProblems.logistic([(X, None)], y)
        held = [(X_val, None), (X_test, None)]
        return problems, list(problems.path(Cs, held, tol=PATH_TOL, max_iter=1000))

    again: list[float] = []
    scaling, scaler = timed(lambda: StandardScaler().fit(X))
    Z, Z_val, Z_test = (scaler.transform(part) for part in (X, X_val, X_test))

    def judge(name: str, C: float, value: float, val: np.ndarray, test: np.ndarray) -> None:
        results[name].append({
            "C": C, "objective": value,
            "val": float((val == y_val).mean()), "test": float((test == y_test).mean()),
        })  # fmt: skip

    loops = {"warm 1e-4": 1e-4, "warm 1e-5": 1e-5, "warm equal": 1e-4}
    loops |= {"cold 1e-4": 1e-4, "cold equal": 1e-4}
    reached = 1e-4  # the tolerance of the loop at equal objective, at this C
    models = {}
    for name, tol in loops.items():
        seconds[name], results[name] = [], []
        models[name] = LogisticRegression(tol=tol, max_iter=1000, warm_start="warm" in name)
    for i, C in enumerate(Cs.tolist()):
        if i in (0, len(Cs) // 2, len(Cs) - 1):
            spent, (problems, path) = timed(whole)
            again.append(spent)
        _, fit, scores = path[i]
        found = scores.argmax(axis=1)
        judge("ours", C, float(fit.objective[0]), found[: len(y_val)], found[len(y_val) :])
        for name, model in models.items():
            is_skipped = "cold" in name and i % COLD_EVERY != COLD_EVERY // 2
            if is_skipped or sum(seconds[name]) > LIMIT:
                continue
            if name == "cold equal":
                model.tol = reached
            spent, _ = timed(lambda model=model, C=C: model.set_params(C=C).fit(Z, y))
            value = objective(Z, y, C, model.coef_, model.intercept_)
            while name == "warm equal" and value > (1 + EQUAL) * float(fit.objective[0]):
                model.tol /= 10
                more, _ = timed(lambda model=model: model.fit(Z, y))
                spent += more
                value = objective(Z, y, C, model.coef_, model.intercept_)
                if model.tol < 1e-12 or sum(seconds[name]) + spent > LIMIT:
                    break
            if name == "warm equal":
                reached, model.tol = model.tol, loops[name]
            seconds[name].append(spent)
            judge(name, C, value, model.predict(Z_val), model.predict(Z_test))
        spent_so_far = {"ours": again, **seconds}
        print(f"C = {C:.2e}", {k: round(sum(v), 1) for k, v in spent_so_far.items()}, flush=True)
    optimum = _optimum(problems, X[:1], Cs, results)
    return _swept(seconds, results, optimum, float(np.median(again)), scaling)


def _optimum(
    problems: Any, row: np.ndarray, Cs: np.ndarray, results: dict[str, Any]
) -> dict[float, float]:
    """The best objective known at each C: ours at a smaller tolerance, or any other's."""
    best = {
        C: float(fit.objective[0])
        for C, fit, _ in problems.path(Cs, [(row, None)], tol=1e-5, max_iter=99)
    }
    for points in results.values():
        for point in points:
            best[point["C"]] = min(best[point["C"]], point["objective"])
    return best


def _swept(
    seconds: dict[str, list[float]],
    results: dict[str, list[dict[str, float]]],
    optimum: dict[float, float],
    ours: float,
    scaling: float,
) -> dict[str, Any]:
    report: dict[str, Any] = {"n_values": len(optimum), "scaling_s": scaling}
    by_C = {point["C"]: point["objective"] for point in results["ours"]}
    for name, points in results.items():
        excess = [point["objective"] / optimum[point["C"]] - 1 for point in points]
        chosen = max(points, key=lambda point: point["val"])
        spent = seconds.get(name, [ours / len(points)] * len(points))
        total = ours if name == "ours" else sum(spent) + scaling
        report[name] = {
            "cpu_s": total,
            "measured_values": len(points),
            "values_above_optimum_by_1e-3": sum(e > 1e-3 for e in excess),
            "worst_excess": max(excess),
            "ours_is_within_1e-3_or_lower": all(
                by_C[p["C"]] <= max(1.001 * optimum[p["C"]], p["objective"]) for p in points
            ),
            "chosen_C": chosen["C"],
            "test_accuracy": chosen["test"],
            "each": [p | {"cpu_s": s} for p, s in zip(points, spent, strict=True)],
        }
        if name.startswith("cold"):
            scale = len(optimum) / len(points)
            report[name]["extrapolated_cpu_s"] = scaling + scale * sum(spent)
            report[name]["ratio_extrapolated"] = report[name]["extrapolated_cpu_s"] / ours
        elif name != "ours":
            # A loop that ran out of time did fewer values than ours: it is not scaled up.
            report[name]["ratio"] = total / ours
    print({k: v.get("ratio", v.get("ratio_extrapolated")) for k, v in report.items()
           if isinstance(v, dict)}, flush=True)  # fmt: skip
    return report


def single(
    data: dict[str, Any], C: float, repeats: int = 3, tols: tuple[float, ...] = TOLS
) -> dict[str, Any]:
    """One value of C from nothing, standardisation included, in turns.

    scikit-learn at its own tolerance, and at the loosest that brings it within 1e-3 of our
    objective (one of `tols`, found before, untimed; null if none is).
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from transferkit.heads.linear import LinearClassifier

    X, y = data["train"]
    X_test, y_test = data["test"]
    Z = StandardScaler().fit_transform(X)
    target = (1 + EQUAL) * LinearClassifier(C=C).fit(X, y).objective_

    def theirs(tol: float) -> Any:
        return LogisticRegression(C=C, max_iter=1000, tol=tol)

    equal = None
    for tol in tols:
        model = theirs(tol).fit(Z, y)
        if objective(Z, y, C, model.coef_, model.intercept_) <= target:
            equal = tol
            break
    makers: dict[str, Callable[[], Any]] = {
        "ours": lambda: LinearClassifier(C=C),
        "scikit-learn": lambda: make_pipeline(StandardScaler(), theirs(1e-4)),
    }
    if equal is not None and equal < 1e-4:
        makers["scikit-learn, equal"] = lambda: make_pipeline(StandardScaler(), theirs(equal))
    seconds: dict[str, list[float]] = {name: [] for name in makers}
    report: dict[str, Any] = {"C": C, "tol_for_equal_objective": equal}
    for _ in range(repeats):
        for name, make in makers.items():
            spent, model = timed(lambda make=make: make().fit(X, y))
            seconds[name].append(spent)
            if name == "ours":
                value = model.objective_
            else:
                value = objective(Z, y, C, model[-1].coef_, model[-1].intercept_)
            report[name] = {"objective": value, "test_accuracy": model.score(X_test, y_test)}
    for name, each in seconds.items():
        report[name]["cpu_s"] = float(np.median(each))
        report[name]["ratio"] = report[name]["cpu_s"] / report["ours"]["cpu_s"]
    print("one C", report, flush=True)
    return report
