"""The picture of the benchmark of extraction."""

from pathlib import Path

import numpy as np


def draw(result: dict, names: list[str], ways: list[str], path: Path) -> None:
    """Bars of the ratios to the plain loop, the first of the ways."""
    import matplotlib.pyplot as plt

    shown = ways[1:]
    names = [name for name in names if name in result["speed"]]
    colours = ["#bbbbbb", "#9ecae1", "#3182bd", "#a1d99b", "#31a354"]
    figure, axes = plt.subplots(figsize=(9, 4.2))
    for i, (way, colour) in enumerate(zip(shown, colours, strict=True)):
        ratios = [result["speed"][name]["ways"][way]["ratio"] for name in names]
        at = np.arange(len(names)) + 0.16 * (i - 2)
        label = "plain loop, bf16, channels_last" if way == "plain bf16" else f"transferkit, {way}"
        axes.bar(at, ratios, 0.16, color=colour, label=label)
    axes.axhline(1, color="black", linewidth=0.8)
    rates = [result["speed"][name]["ways"]["plain"]["images_per_second"] for name in names]
    short = [name.split("_patch")[0].removesuffix("_100").replace("_large", "") for name in names]
    labels = [f"{name}\n{rate:.0f}/s" for name, rate in zip(short, rates, strict=True)]
    axes.set_xticks(range(len(names)), labels, fontsize=7.5)
    axes.set_ylabel("times the plain float32 loop")
    axes.set_title(
        "From JPEG files to features on two CPU cores (below: the plain loop's images/s)"
    )
    axes.set_ylim(0, 1.25 * axes.get_ylim()[1])
    axes.legend(fontsize=8, frameon=False, ncols=2, loc="upper right")
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(path, dpi=130)
