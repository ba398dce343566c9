"""The command line: one file per command, imported when it is called.

Results go to stdout, progress and messages to stderr. Exit codes: 0 done; 1 failed;
2 wrong usage; 3 done, but some images could not be read; 130 interrupted.
"""

import io
import logging
import sys
from typing import Any

import click

from transferkit import __version__, registry
from transferkit.cli._output import printable

__all__ = ["main"]


class _Folder(click.Group):
    """A group whose commands are the files of this folder."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return registry.names(__name__)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in registry.names(__name__):
            return None
        command = registry.load(__name__, cmd_name, "command").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in self.list_commands(ctx):
            raise click.UsageError(
                str(registry.unknown("command", args[0], self.list_commands(ctx)))
            )
        return super().resolve_command(ctx, args)


@click.group(cls=_Folder, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="transferkit")
@click.option("-v", "--verbose", is_flag=True, help="Say what every slow step did.")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_context
def cli(ctx: click.Context, verbose: bool, debug: bool) -> None:
    """Transfer learning on frozen timm backbones.

    \b
    transferkit fit IMAGES --backbone resnet50 --out MODEL
    transferkit predict MODEL IMAGES > predictions.csv
    """
    ctx.obj = {"debug": debug}
    handler = logging.StreamHandler()  # stderr
    handler.setFormatter(_Formatter())
    handler.addFilter(_Once())
    logger = logging.getLogger("transferkit")
    logger.handlers = [handler]
    logger.propagate = False
    logger.setLevel(logging.INFO if verbose else logging.WARNING)


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        prefix = "" if record.levelno < logging.WARNING else f"{record.levelname.capitalize()}: "
        return prefix + printable(record.getMessage(), keep="\n\t")


class _Once(logging.Filter):
    """Lets a warning through once, even if several passes over the same images repeat it."""

    def __init__(self) -> None:
        super().__init__()
        self.said: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        is_new = record.levelno < logging.WARNING or message not in self.said
        self.said.add(message)
        return is_new


def main(args: list[str] | None = None) -> None:
    """Entry point of the ``transferkit`` command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that lacks a character shows the character's number instead of failing.
            stream.reconfigure(errors="backslashreplace")
    debug = "--debug" in (sys.argv[1:] if args is None else args)
    try:
        code: Any = cli.main(args, prog_name="transferkit", standalone_mode=False)
    except click.ClickException as error:
        shown = io.StringIO()
        error.show(shown)
        click.echo(printable(shown.getvalue(), keep="\n"), err=True, nl=False)
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo(
            "Interrupted: what was done is kept; the same command goes on from there.", err=True
        )
        code = 130
    except BrokenPipeError:
        code = 1
        sys.stderr.close()  # the reader of our output has closed the pipe
    except (ValueError, TypeError, LookupError, OSError, RuntimeError) as error:
        if debug:
            raise
        text = str(error)
        if isinstance(error, OSError) and error.filename is not None and error.strerror:
            text = f"{str(error.filename)!r}: {error.strerror}"
        click.echo(f"Error: {printable(text, keep=chr(10))}", err=True)
        code = 1
    sys.exit(code if isinstance(code, int) else 0)
