"""``transferkit extract``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from transferkit.cli._duplicates import described, duplicates
from transferkit.cli._options import (
    backbone_options,
    exit_code,
    extraction_mode,
    extractor_from,
    images_from,
    json_option,
    plan_option,
    report_failures,
    run_options,
)
from transferkit.cli._output import print_json, print_pairs, print_plan

if TYPE_CHECKING:
    from transferkit.estimators import FeatureExtractor
    from transferkit.extract import Extraction


@click.command()
@click.argument("images")
@backbone_options
@run_options
@click.option(
    "--on",
    default="local",
    show_default=True,
    metavar="local|ray[:ADDRESS]",
    help="Where it runs: this machine; or a cluster of Ray's (extra ray), whose nodes see the same "
    "images and store. ADDRESS is Ray's own: auto, HOST:6379.",
)
@plan_option
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    images: str,
    on: str,
    on_error: str,
    only_plan: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Fill the store with features of IMAGES (a folder, a CSV, a tar file, a URL …).

    What is in the store already is not computed again, whatever the files are called; run
    the same command again to go on after an interruption.
    """
    if only_plan and on != "local":
        raise click.UsageError("--plan times this machine and can't tell of others; leave out --on")
    extractor = extractor_from(options).set_params(on=on)
    listed = images_from(images, options)
    if only_plan:
        print_plan(extractor.plan(listed), as_json=as_json)
        return
    extraction = extractor.extract(listed, on_error=extraction_mode(on_error), keep_rows=False)
    store = extractor.open_store()
    assert store is not None
    features = _features(extractor, extraction)
    readable = listed.select(extraction.kept)
    if as_json:
        print_json(
            {
                "images": len(listed),
                "rows": len(extraction.kept),
                "computed": extraction.n_computed,
                "files_read": extraction.n_read,
                "seconds": round(extraction.seconds, 3),
                "shares": {part: round(s, 3) for part, s in extraction.shares.items()},
                "provenance": extraction.provenance,
                "store": str(store.path),
                "features": features,
                "duplicates": [
                    [readable.names[i] for i in group] for group in duplicates(extraction.ids)
                ],
                "failures": [{"name": f.name, "reason": f.reason} for f in extraction.failures],
            }
        )
    else:
        pairs = [("images", f"{len(listed):,}"), ("result", extraction.summary())]
        pairs += described(readable, extraction.ids)
        pairs += extraction.notes()
        for name, feature in features.items():
            shape = " × ".join(map(str, feature["shape"]))
            pairs.append((name, f"{shape}, key {feature['key']}"))
        print_pairs([*pairs, ("store", str(store.path))])
    report_failures(extraction.failures, len(listed))
    ctx.exit(exit_code(extraction.failures, on_error))


def _features(extractor: FeatureExtractor, extraction: Extraction) -> dict[str, dict[str, Any]]:
    """Shape of a row and key of each feature."""
    spec = extractor.resolve()
    classes = {"precision": extractor.precision, "storage": extractor.storage}
    return {
        name: {"shape": list(rows.shape[1:]), "key": spec.feature_spec(name, **classes).key}
        for name, rows in extraction.rows.items()
    }
