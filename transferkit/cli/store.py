"""``transferkit store``: look after the feature store."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from transferkit.cli._options import (
    StorePath,
    image_options,
    images_from,
    json_option,
    store_option,
)
from transferkit.cli._output import counted, print_json, print_pairs, print_table, size_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transferkit.images import ImageSet
    from transferkit.store import KeyInfo

# It is worth a hint to merge so many shards, if they are smaller than this on average.
_MANY_SHARDS = 1000
_SMALL_BYTES = 32 * 2**20


@click.group()
def command() -> None:
    """Look at the feature store, check it, clean it up."""


def _open(path: Path | str | None) -> Any:
    from transferkit.store import FeatureStore
    from transferkit.store.keys import list_keys

    opened = FeatureStore(path)
    try:
        names = opened.place.names("")
    except NotADirectoryError as error:
        message = f"{str(opened.path)!r} is a file; a store is a folder"
        raise NotADirectoryError(message) from error
    # Only names are checked: a key that is damaged, or being written, belongs to a store too.
    if names and not list_keys(opened.place):
        raise ValueError(f"{str(opened.path)!r} is a folder of other things, and no feature store")
    return opened


def _backbone(info: KeyInfo) -> str:
    name = (info.provenance or {}).get("backbone", "")
    architecture = info.spec.architecture.removeprefix("timm:")
    return name if name.partition(".")[0] == architecture else architecture


@command.command("ls")
@store_option
@json_option
def list_command(store: Path | str | None, as_json: bool) -> None:
    """List the keys: what features there are, of how many images."""
    opened = _open(store)
    keys = opened.list_keys()
    if as_json:
        differing = _differing(keys)
        print_json([_as_dict(i) | {"differs_in": differing[i.key]} for i in keys])
        return
    if not keys:
        click.echo(f"no features in {opened.path}")
        return
    print_table(
        ("key", "backbone", "weights", "feature", "input", "type", "rows", "shards", "size"),
        [
            (
                info.key,
                _backbone(info),
                info.spec.weights.removeprefix("sha256:")[:12],
                info.spec.feature,
                "×".join(map(str, info.spec.preprocess.image_size)),
                info.spec.precision,
                f"{info.n_rows:,}",
                f"{info.n_shards:,}",
                size_of(info.n_bytes),
            )
            for info in keys
        ],
    )
    _print_certificates(keys)
    _print_differences(keys)
    _advise(keys)
    total = sum(info.n_bytes for info in keys)
    click.echo(f"{counted(len(keys), 'key')}, {size_of(total)} in {opened.path}", err=True)


def _advise(keys: Sequence[KeyInfo]) -> None:
    """Suggest to merge shards where they are many and small."""
    for info in keys:
        if info.n_shards >= _MANY_SHARDS and info.n_bytes < _SMALL_BYTES * info.n_shards:
            click.echo(
                f"hint: {info.key} has {info.n_shards:,} small shards; transferkit store compact "
                f"{info.key[:6]} merges them, and the store opens sooner",
                err=True,
            )


def _print_certificates(keys: Sequence[KeyInfo]) -> None:
    """Say what compressed rows have lost, key by key."""
    told = [(info, info.certificate) for info in keys if info.certificate is not None]
    if told:
        click.echo("\ncompressed rows")
        print_pairs([(f"  {i.key[:6]}", f"{i.dtype}: {one.text()}") for i, one in told])


def _print_differences(keys: Sequence[KeyInfo]) -> None:
    """Say in which settings the keys of one backbone differ, and which key has which."""
    differing = _differing(keys)
    by_backbone: dict[str, list[KeyInfo]] = {}
    for info in keys:
        by_backbone.setdefault(info.spec.architecture, []).append(info)
    for alike in by_backbone.values():
        if len(alike) < 2:
            continue
        click.echo(f"\n{len(alike)} keys of {_backbone(alike[0])} differ in")
        pairs = []
        for name in differing[alike[0].key]:
            having: dict[str, list[str]] = {}
            for info in alike:
                having.setdefault(differing[info.key][name], []).append(info.key[:6])
            texts = (f"{value} ({', '.join(having[value])})" for value in having)
            pairs.append((f"  {name}", " | ".join(texts)))
        print_pairs(pairs)


def _differing(keys: Sequence[KeyInfo]) -> dict[str, dict[str, str]]:
    """For each key, the settings in which it differs from others of its backbone."""
    settings = {info.key: _settings(info) for info in keys}
    settings_of: dict[str, dict[str, str]] = {}
    for info in keys:
        alike = [settings[i.key] for i in keys if i.spec.architecture == info.spec.architecture]
        names = dict.fromkeys(name for one in alike for name in one)
        settings_of[info.key] = {
            name: settings[info.key].get(name, "not set")
            for name in names
            if len({one.get(name, "not set") for one in alike}) > 1
        }
    return settings_of


def _settings(info: KeyInfo) -> dict[str, str]:
    """All settings that decide a key's numbers, as texts by name."""
    spec = json.loads(info.spec.to_json())
    values = spec | spec.pop("preprocess") | json.loads(spec.pop("arguments"))
    values["image_size"] = " × ".join(map(str, info.spec.preprocess.image_size))
    values["weights"] = info.spec.weights.removeprefix("sha256:")[:12]
    return {name: _text(value) for name, value in values.items()}


def _as_dict(info: KeyInfo) -> dict[str, Any]:
    return {
        "key": info.key,
        "rows": info.n_rows,
        "shards": info.n_shards,
        "bytes": info.n_bytes,
        "row_shape": None if info.row_shape is None else list(info.row_shape),
        "dtype": info.dtype,
        "spec": json.loads(info.spec.to_json()),
        "provenance": info.provenance,
        "certificate": None if info.certificate is None else asdict(info.certificate),
    }


@command.command("info")
@click.argument("key")
@store_option
@json_option
def show_key(key: str, store: Path | str | None, as_json: bool) -> None:
    """Show everything that decides the numbers of KEY (its beginning is enough)."""
    info = _open(store).info(key)
    if as_json:
        print_json(_as_dict(info))
        return
    shape = "n/a" if info.row_shape is None else " × ".join(map(str, info.row_shape))
    pairs = [
        ("key", info.key),
        ("rows", f"{info.n_rows:,} of {shape}, {info.dtype}"),
        ("size", f"{size_of(info.n_bytes)} in {info.n_shards:,} shards"),
    ]
    pairs += [("certificate", info.certificate.text())] if info.certificate is not None else []
    print_pairs(pairs)
    click.echo("\ndecides the numbers")
    spec = json.loads(info.spec.to_json())
    print_pairs([(f"  {name}", _text(value)) for name, value in spec.items()])
    click.echo("\nwhere the first shard came from")
    provenance = info.provenance or {"": "n/a"}
    print_pairs([(f"  {name}", value) for name, value in provenance.items()])
    _advise([info])


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(v)}" for name, v in value.items())
    return value if isinstance(value, str) else json.dumps(value)


@command.command("verify")
@click.argument("key", required=False)
@store_option
@json_option
@click.pass_context
def verify(ctx: click.Context, key: str | None, store: Path | str | None, as_json: bool) -> None:
    """Read every row of KEY, or of all keys, and check it; exit with 1 if any is damaged.

    Damaged rows are never used: the next extract computes them again.
    """
    opened = _open(store)
    faults = opened.verify(key)
    n_rows = sum(i.n_rows for i in opened.list_keys() if key is None or i.key.startswith(key))
    if as_json:
        print_json(
            [
                {"key": f.key, "file": str(f.path), "reason": f.reason, "rows": f.n_rows}
                for f in faults
            ]
        )
    else:
        for fault in faults:
            click.echo(f"{fault.path}: {fault.reason}")
        click.echo(
            f"{counted(len(faults), 'fault')}; {n_rows:,} rows are good. Damaged rows are never "
            f"used: the next extract computes them again, and `transferkit store compact` removes "
            f"them"
            if faults
            else f"{n_rows:,} rows, all good"
        )
    ctx.exit(1 if faults else 0)


@command.command("gc")
@click.option("--key", "keys", multiple=True, help="Remove this key whole; repeatable.")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
@store_option
@json_option
def collect(keys: tuple[str, ...], dry_run: bool, store: Path | str | None, as_json: bool) -> None:
    """Remove leftovers of killed runs, shards that stand elsewhere, and the keys given."""
    removed = _open(store).gc(keys, dry_run=dry_run)
    if as_json:
        print_json(
            [
                {"key": r.key, "path": str(r.path), "reason": r.reason, "bytes": r.n_bytes}
                for r in removed
            ]
        )
        return
    for item in removed:
        click.echo(f"{item.path}: {item.reason}, {size_of(item.n_bytes)}")
    total = size_of(sum(item.n_bytes for item in removed))
    click.echo(
        f"{'would remove' if dry_run else 'removed'} {counted(len(removed), 'item')}, {total}"
    )


@command.command("compact")
@click.argument("key", required=False)
@store_option
@json_option
def compact(key: str | None, store: Path | str | None, as_json: bool) -> None:
    """Merge the small shards of KEY, or of all keys; damaged rows are left behind."""
    done = _open(store).compact(key)
    if as_json:
        print_json(
            [
                {"key": c.key, "merged": len(c.sources), "rows": c.n_rows, "dropped": c.n_dropped}
                for c in done
            ]
        )
        return
    for item in done:
        damaged = counted(item.n_dropped, "damaged row")
        dropped = f", {damaged} left behind" if item.n_dropped else ""
        rows = counted(item.n_rows, "row")
        click.echo(f"{item.key}: {counted(len(item.sources), 'shard')} → 1, {rows}{dropped}")
    if not done:
        click.echo("nothing to merge")


@command.command("merge")
@click.argument("other", type=StorePath(path_type=Path))
@click.option("--key", help="Only this key (its beginning is enough).")
@store_option
@json_option
@click.pass_context
def merge(
    ctx: click.Context,
    /,
    other: Path | str,
    key: str | None,
    store: Path | str | None,
    as_json: bool,
) -> None:
    """Take the rows of the store OTHER that aren't here yet, each one verified.

    OTHER isn't changed, and others may write to it meanwhile. What is damaged in it is
    named, not taken, and makes the exit code 1; all else is taken.
    """
    if isinstance(other, Path) and not other.is_dir():
        raise FileNotFoundError(f"{str(other)!r} is no folder; give another store's")
    merged = _open(store).merge(_open(other), key)
    faults = [fault for one in merged for fault in one.faults]
    if as_json:
        print_json(
            [
                {
                    "key": m.key,
                    "new": m.n_rows,
                    "known": m.n_known,
                    "faults": len(m.faults),
                    "shards_left": m.n_left,
                }
                for m in merged
            ]
        )
    else:
        for one in merged:
            click.echo(f"{one.key}: {counted(one.n_rows, 'new row')}, {one.n_known:,} here already")
            if one.n_left:
                click.echo(
                    f"{one.key}: {one.n_left:,} shards came while the others were taken; merge "
                    f"again when nobody writes to {other}",
                    err=True,
                )
        for fault in faults:
            click.echo(f"{fault.path}: {fault.reason}; not taken", err=True)
        if not merged:
            click.echo(f"no features in {other}")
    ctx.exit(1 if faults else 0)


@command.command("export")
@click.argument("key")
@click.argument("out", type=click.Path(path_type=Path))
@click.option("--images", help="Rows of these images, in their order, with paths and labels.")
@image_options
@click.option(
    "--format",
    "form",
    type=click.Choice(["npy", "parquet", "hdf5"]),
    help="Form of the file; by default what OUT's ending says.",
)
@store_option
def export_key(
    key: str,
    out: Path,
    images: str | None,
    form: str | None,
    store: Path | str | None,
    **options: Any,
) -> None:
    """Write the rows of KEY (its beginning is enough) to the file OUT, with their ids.

    The store knows the images' bytes, and not what they are called: --images IMAGES (a
    folder or a table, as for extract) adds their paths and labels. npy writes all but the
    rows beside it, to OUT.csv; Parquet and HDF5 need extras.
    """
    from transferkit.store import export

    opened = _open(store)
    spec = opened.info(key).spec
    endings = {".npy": "npy", ".parquet": "parquet", ".h5": "hdf5", ".hdf5": "hdf5"}
    form = form or endings.get(out.suffix.lower())
    if form is None:
        raise ValueError(f"{str(out)!r} doesn't tell its format; end it in .npy or give --format")
    if images is None:
        export(opened, spec, out, form=form)
        n_rows = len(opened.ids(spec))
        click.echo(
            "Rows come with their ids only, which are digests of the images' bytes; --images "
            "IMAGES gives those of your images, with their paths and labels",
            err=True,
        )
    else:
        listed = images_from(images, options)
        ids = _ids_of(listed, opened, spec)
        n_rows = len(ids)
        export(
            opened, spec, out, ids=ids, names=listed.names, labels=_label_columns(listed), form=form
        )
    click.echo(f"{counted(n_rows, 'row')} of {spec.feature} in {out}")


def _label_columns(images: ImageSet) -> dict[str, list[str]]:
    """Columns of labels by name. An image without a label has an empty text."""
    if images.labels is None:
        return {}
    if images.label_names is None:
        return {"label": ["" if label is None else str(label) for label in images.labels]}
    rows = [label if isinstance(label, tuple) else (label,) for label in images.labels]
    return {
        name: ["" if row[i] is None else str(row[i]) for row in rows]
        for i, name in enumerate(images.label_names)
    }


def _ids_of(images: ImageSet, store: Any, spec: Any) -> list[bytes]:
    """Row ids of images, all of which must be in the store."""
    from transferkit.extract.identities import Identities

    found = Identities(images, exif=spec.preprocess.exif).ids
    ids = [row for row in found if row is not None]
    absent = {None, *store.missing(spec, ids)}
    without = [name for name, row in zip(images.names, found, strict=True) if row in absent]
    if without:
        raise ValueError(
            f"{len(without)} of {len(images)} images have no row under {spec.key} (the first: "
            f"{without[0]!r}); extract them first, or leave --images out"
        )
    return ids
