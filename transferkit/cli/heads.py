"""``transferkit heads``."""

from __future__ import annotations

import click

from transferkit.cli._options import json_option
from transferkit.cli._output import print_json, print_pairs, print_table


@click.command()
@json_option
def command(as_json: bool) -> None:
    """List the heads, those of segmentation, detection and anomalies too.

    In Python any scikit-learn classifier is a head too.
    """
    import dataclasses

    from transferkit import registry
    from transferkit.heads import describe, head_names

    heads = [describe(name) for name in head_names()]
    if as_json:
        print_json([dataclasses.asdict(head) for head in heads])
        return

    def mark(has: bool) -> str:
        return "yes" if has else "-"

    print_table(
        ("head", "regression", "several labels", "probabilities", "weights", "what it is"),
        [
            (
                head.name,
                mark("regression" in head.tasks),
                mark(head.multilabel),
                mark(head.probabilities),
                mark(head.sample_weight),
                head.summary,
            )
            for head in heads
        ],
    )
    click.echo()
    folders = {
        "segmentation": "dense.segmentation",
        "detection": "dense.detection",
        "necks": "necks",
        "anomaly": "dense.anomaly",
    }
    names = {kind: registry.names(f"transferkit.{folder}") for kind, folder in folders.items()}
    names["anomaly"].append("auto")
    print_pairs([(kind, ", ".join(found)) for kind, found in names.items()])
