"""``transferkit search``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from transferkit.cli._options import (
    backbone_options,
    exit_code,
    extraction_mode,
    extractor_from,
    images_from,
    json_option,
    report_failures,
    run_options,
)
from transferkit.cli._output import (
    counted,
    json_text,
    print_json,
    print_pairs,
    print_table,
    printable,
)
from transferkit.cli._writing import check_file, form_of, out_file_option, write_lines

if TYPE_CHECKING:
    from transferkit.images import ImageSet
    from transferkit.inspection.search import Search


@click.command()
@click.argument("queries", metavar="IMAGE...", nargs=-1, required=True)
@click.option(
    "--in", "dataset", required=True, metavar="DATASET", help="Where to look: a folder or a table."
)
@backbone_options
@click.option("-k", default=20, show_default=True, type=click.IntRange(1), help="Images to find.")
@click.option(
    "--metric",
    type=click.Choice(["cosine", "euclidean"]),
    default="cosine",
    show_default=True,
    help="How features are compared.",
)
@click.option("--others", is_flag=True, help="Leave out images with the same bytes as IMAGE.")
@click.option(
    "--index",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File of short codes to search by, made if need be; from 10,000 images on.",
)
@click.option("--cached-only", is_flag=True, help="Search only images that the store has.")
@out_file_option("Table of what was found: .csv, .json, .jsonl or .parquet.")
@click.option(
    "--report", type=click.Path(path_type=Path), help="Page with the pictures: sheet.html."
)
@run_options
@json_option
@click.pass_context
def command(
    ctx: click.Context,
    /,
    queries: tuple[str, ...],
    dataset: str,
    k: int,
    metric: str,
    others: bool,
    cached_only: bool,
    index: Path | None,
    out: Path | None,
    report: Path | None,
    on_error: str,
    as_json: bool,
    **options: Any,
) -> None:
    """Find the images of DATASET that are most like IMAGE, by their features in the store.

    IMAGE is a file, several, or a folder. Of DATASET only what the store lacks is extracted.
    """
    from transferkit.inspection.search import search

    if out is not None:
        check_file(out)
    if report is not None:
        from transferkit.report.page import check_page

        check_page(report, has_charts=False)
    extractor = extractor_from(options)
    images = images_from(dataset, options)
    found = search(
        _listed(queries),
        images,
        extractor,
        k=k,
        metric=metric,
        only_others=others,
        only_stored=cached_only,
        on_error=extraction_mode(on_error),
        index=index,
    )
    if out is not None:
        _write(found, out)
    if report is not None:
        from transferkit.report.inspection.search_page import search_page

        search_page(found).write(report)
    if as_json:
        print_json(_document(found))
    else:
        _print(found, out, report)
    report_failures(found.query_failures, len(found.queries))
    report_failures(found.failures, len(images))
    ctx.exit(exit_code([*found.query_failures, *found.failures], on_error))


def _listed(queries: tuple[str, ...]) -> ImageSet:
    """Images that were named one by one, under these names, and those of folders and tables."""
    from transferkit.images import joined, list_images
    from transferkit.images.sources import file

    listed: ImageSet | None = None
    for query in queries:
        one = list_images([query] if file.accepts(query) else query)
        listed = one if listed is None else joined(listed, one)
    assert listed is not None
    return listed


def _document(found: Search) -> dict[str, Any]:
    """What was found, for machines."""
    return {
        "metric": found.metric,
        "method": found.method,
        "searched": found.n_searched,
        "hits": found.lines(),
        "failures": [{"name": one.name, "reason": one.reason} for one in found.failures],
    }


def _write(found: Search, out: Path) -> None:
    if out.suffix.lower() == ".json":
        from transferkit.files import write_whole

        write_whole(out, [json_text(_document(found), indent=2).encode() + b"\n"])
        return
    lines = found.lines()
    for line in lines:
        line["same"] = "" if line["same"] is None else "yes" if line["same"] else "no"
    write_lines(out, lines, form_of(None, out))


def _print(found: Search, out: Path | None, report: Path | None) -> None:
    """Print a table for each query; only where the results are if they were written."""
    pairs = [
        ("queries", f"{len(found.queries):,}"),
        ("searched", f"{counted(found.n_searched, 'image')} of {len(found.images):,}"),
    ]
    pairs += [("method", found.method)] if found.method != "exact" else []
    pairs += [("hits", str(out))] if out is not None else []
    pairs += [("report", str(report))] if report is not None else []
    print_pairs(pairs)
    if out is not None:
        return
    has_labels = found.images.labels is not None
    for query, hits in zip(found.queries.names, found.hits, strict=True):
        if not hits:
            continue
        click.echo()
        click.echo(printable(query))
        header = ["rank", found.score_name, *(["label"] if has_labels else []), "path"]
        rows = [
            [
                str(rank),
                f"{hit.score:.4f}",
                *([found.label_of(hit.image)] if has_labels else []),
                found.images.names[hit.image] + ("  (same image)" if hit.is_same else ""),
            ]
            for rank, hit in enumerate(hits, 1)
        ]
        print_table(header, rows)
