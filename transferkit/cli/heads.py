"""``transferkit heads``."""

from __future__ import annotations

import click

from transferkit import registry
from transferkit.cli._options import json_option
from transferkit.cli._output import print_json, print_pairs, print_table
from transferkit.tasks import dense
from transferkit.tasks.dense import DenseTask, dense_task_of


@click.command()
@json_option
def command(as_json: bool) -> None:
    """List the heads, those of dense tasks too.

    In Python any scikit-learn classifier is a head too.
    """
    import dataclasses

    from transferkit.heads import describe, head_names

    heads = [describe(name) for name in head_names()]
    if as_json:
        print_json([dataclasses.asdict(head) for head in heads])
        return

    def mark(has: bool) -> str:
        return "yes" if has else "-"

    print_table(
        (
            "head",
            "regression",
            "several labels",
            "probabilities",
            "weights",
            "streams",
            "what it is",
        ),
        [
            (
                head.name,
                mark("regression" in head.tasks),
                mark(head.multilabel),
                mark(head.probabilities),
                mark(head.sample_weight),
                mark(head.streams),
                head.summary,
            )
            for head in heads
        ],
    )
    click.echo()
    found = {name: _heads_of(dense_task_of(name)) for name in dense.names()}
    found["necks"] = registry.names("transferkit.necks")
    print_pairs([(kind, ", ".join(names)) for kind, names in found.items()])


def _heads_of(task: DenseTask) -> list[str]:
    """Names of a task's heads, and of the rule that chooses one if that is the default."""
    names = registry.names(task.heads)
    return names if task.default_head in names else [*names, task.default_head]
