"""``transferkit push``."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path

import click

from transferkit.cli._output import print_pairs, size_of


@click.command()
@click.argument("model")
@click.argument("target")
@click.option("--output", type=click.Path(path_type=Path), help="Keep the folder; upload nothing.")
@click.option("--dry-run", is_flag=True, help="Make and check the folder; upload nothing.")
@click.option("--check", help="Images to compare on.  [default: photographs of scikit-learn's]")
@click.option("--private", is_flag=True, help="A new repository is private.")
@click.option("--force", is_flag=True, help="Replace the folder that is there.")
def command(
    model: str,
    target: str,
    output: Path | None,
    dry_run: bool,
    check: str | None,
    private: bool,
    force: bool,
) -> None:
    """Upload a saved MODEL to TARGET, hf-hub:ORG/NAME, as timm loads it from there.

    The folder is made and compared with the model as by `transferkit export --format timm`.
    The token is the hub's own: HF_TOKEN, or what `hf auth login` has kept.
    """
    from transferkit.export import check_target, export_model, upload

    name = check_target(target)
    with contextlib.ExitStack() as stack:
        folder = output
        if folder is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "model"
        made = export_model(model, folder, format="timm", check=check, overwrite=force)
        found = made.check
        same = f"; {found.same}" if found.same else ""
        pairs = [
            ("check", f"largest difference {found.difference:.2g} ({found.kind}){same}"),
            *(("file", _described(p)) for p in sorted(folder.iterdir())),
        ]
        if output is not None:
            pairs.append(("folder", f"{output}; nothing was uploaded"))
        elif dry_run:
            pairs.append(("target", f"{target}; nothing was uploaded"))
        else:
            pairs.append(("uploaded", upload(folder, target, private=private)))
            pairs.append(("load", f'timm.create_model("hf-hub:{name}", pretrained=True)'))
        print_pairs(pairs)


def _described(path: Path) -> str:
    return f"{path.name} ({size_of(path.stat().st_size)})"
