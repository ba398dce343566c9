"""``transferkit backbones``."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import click

from transferkit.cli._options import json_option
from transferkit.cli._output import print_json, print_table

if TYPE_CHECKING:
    from transferkit.backbones import BackboneInfo

_DETAILS = 20


@click.command()
@click.argument("pattern", default="*")
@json_option
def command(pattern: str, as_json: bool) -> None:
    """List the backbones whose name matches PATTERN, such as 'resnet*' or 'dino'.

    Nothing is downloaded. Up to 20 matches are described with parameters, multiply-adds,
    feature names (channels/stride) and pretrained tags; more are listed with input size
    and number of tags.
    """
    from transferkit.backbones import search_backbones

    matches = search_backbones(pattern, details=_DETAILS)
    if not matches:
        raise ValueError(f"no backbone matches {pattern!r}; try a part of a name, such as 'resnet'")
    if as_json:
        print_json([dataclasses.asdict(info) for info in matches])
    elif len(matches) > _DETAILS:
        print_table(
            ("backbone", "input", "pretrained"),
            [(i.name, _size(i), str(len(i.tags))) for i in matches],
        )
        click.echo(
            f"{len(matches):,} backbones; narrow PATTERN to {_DETAILS} for their features", err=True
        )
    else:
        for i, info in enumerate(matches):
            if i:
                click.echo()
            _describe(info)


def _size(info: BackboneInfo) -> str:
    return f"{info.image_size[0]} × {info.image_size[1]}"


def _describe(info: BackboneInfo) -> None:
    facts = [f"input {_size(info)} px"]
    if info.n_parameters is not None:
        facts.append(f"{info.n_parameters / 1e6:.1f} M parameters")
    facts.append("GMACs n/a" if info.gmacs is None else f"{info.gmacs:.2f} GMACs")
    click.echo(f"{info.name}: {', '.join(facts)}")
    if not info.layers:
        click.echo("  features    none: timm gives no intermediate features for it")
    names = {
        name: f"{name} ({layer.channels}/{layer.stride})"
        if layer.is_map
        else f"{name} ({layer.channels})"
        for name, layer in info.layers.items()
    }
    blocks = [name for name in names if name.startswith("block")]
    if len(blocks) > 2:  # they are all alike
        first, last = blocks[0], blocks[-1]
        names = {n: t for n, t in names.items() if n not in blocks[1:]}
        names[first] = f"{first} … {names[first].replace(first, last)}"
    maps = [text for name, text in names.items() if info.layers[name].is_map]
    if maps:
        click.echo(f"  maps        {', '.join(maps)}")
        click.echo(
            f"  vectors     {', '.join(t for n, t in names.items() if not info.layers[n].is_map)}"
        )
    click.echo(f"  pretrained  {', '.join(info.tags) or 'none'}")
