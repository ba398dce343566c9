"""A picture of the benchmark of heads: seconds of each, ours beside what people use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

OURS, THEIRS = "#1f77b4", "#bbbbbb"
SECTIONS = ("quick", "radial", "trained", "trees")


def draw(results: dict[str, Any], path: Path) -> None:
    """Draw all parts that were measured."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    groups = bars(results)
    lines = [(title, *bar) for title, each in groups for bar in each]
    figure, axes = plt.subplots(figsize=(10, 0.36 * len(lines) + 0.3 * len(groups) + 1.2))
    y, ticks, names = 0.0, [], []
    for title, each in groups:
        axes.text(0.024, y - 0.75, title, fontsize=9, fontweight="bold", va="center")
        for who, seconds, note in each:
            axes.barh(y, seconds, color=OURS if who == "transferkit" else THEIRS, height=0.8)
            axes.text(seconds * 1.08, y, f"{_seconds(seconds)}{note}", va="center", fontsize=8)
            ticks.append(y)
            names.append(who)
            y += 1
        y += 1.1
    axes.set_yticks(ticks, names, fontsize=8)
    axes.set_ylim(y - 0.8, -1.6)
    axes.set_xscale("log")
    axes.set_xlim(0.02, 10_000)
    axes.set_xlabel("CPU seconds on one core, logarithmic (shorter is better)")
    axes.set_title(
        "Training heads on frozen features (MobileNetV2): 10,829 views of photos of hand signs,\n"
        "10 classes, 1,280 numbers each. % right: accuracy on 2,163 views of other photos",
        fontsize=10, loc="left",
    )  # fmt: skip
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def bars(results: dict[str, Any]) -> list[tuple[str, list[tuple[str, float, str]]]]:
    """Groups of bars: title, then name, seconds and note of each."""
    groups = []
    if "digits" in results:
        digits = results["digits"]
        each = [("transferkit", digits["ours"]["cpu_s"], _accuracy(digits["ours"]))]
        for key, who in (
            ("warm equal", "warm-started loop"),
            ("cold equal", "cold loop (from 9 strengths)"),
        ):
            found = digits[key]
            seconds = found.get("extrapolated_cpu_s", found["cpu_s"])
            ratio = found.get("ratio", found.get("ratio_extrapolated"))
            note = f", {ratio:.1f} times ours{_accuracy(found)}"
            each.append((f"scikit-learn, {who}", seconds, note))
        title = "logistic regression, 45 strengths, ours within 1e-3 of the optimum at each"
        groups.append((title, each))
    for one in results.get("digits, one C", []):
        each = [("transferkit", one["ours"]["cpu_s"], _accuracy(one["ours"]))]
        key = "scikit-learn, equal" if "scikit-learn, equal" in one else "scikit-learn"
        note = f", {one[key]['ratio']:.1f} times ours{_accuracy(one[key])}"
        each.append(("scikit-learn", one[key]["cpu_s"], note))
        groups.append((f"logistic regression, C = {one['C']:g}, equal objective", each))
    for section in SECTIONS:
        for title, heads in results.get(section, {}).items():
            each = []
            for who, found in heads.items():
                ratio = f", {found['ratio']:.1f} times ours" if "ratio" in found else ""
                name = "transferkit" if who == "ours" else who
                seconds = found["fit_cpu_s"] + found["predict_cpu_s"]
                each.append((name, seconds, ratio + _accuracy(found)))
            groups.append((f"{title}: fit and predict", each))
    return groups


def _accuracy(found: dict[str, Any]) -> str:
    return f", {100 * found['test_accuracy']:.1f} % right"


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.0f} s"
