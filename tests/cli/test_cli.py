import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.cli.conftest import BACKBONE
from transferkit import cli as cli_package
from transferkit import registry
from transferkit.cli import cli

COMMANDS = registry.names("transferkit.cli")


def test_every_file_is_a_command() -> None:
    folder = Path(cli_package.__file__).parent
    files = {file.stem for file in folder.glob("*.py") if not file.name.startswith("_")}
    assert {name.replace("-", "_") for name in COMMANDS} == files
    assert {"extract", "fit", "predict", "evaluate", "benchmark"} <= files
    shown = CliRunner().invoke(cli, ["--help"]).output
    for name in COMMANDS:
        assert re.search(rf"^  {name} +\S", shown, re.M)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_every_command_explains_every_option(name: str) -> None:
    result = CliRunner().invoke(cli, [name, "--help"])
    assert result.exit_code == 0
    command = registry.load("transferkit.cli", name, "command").command
    assert command.help
    for parameter in command.params:
        if parameter.param_type_name == "option":
            assert parameter.help, f"{name} {parameter.opts}"


@pytest.mark.kills
def test_help_and_light_commands_import_no_torch(tmp_path: Path) -> None:
    for args in (["--help"], ["fit", "--help"], ["heads"], ["store", "ls"]):
        script = (
            "import sys\n"
            "from transferkit.cli import main\n"
            f"try: main({args!r})\n"
            "except SystemExit as stop: assert not stop.code, stop.code\n"
            "print('|'.join(m for m in ('torch', 'timm', 'torchvision') if m in sys.modules))\n"
        )
        out = subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "TRANSFERKIT_STORE": str(tmp_path)},
        ).stdout
        assert out.splitlines()[-1] == "", args


def test_unknown_command_and_option_are_wrong_usage(call) -> None:
    result = call("extrac")
    assert result.code == 2
    assert "did you mean 'extract'" in result.err
    assert call("extract").code == 2
    result = call("extract", "x", "--backbone", "resnet18", "--on", "ray", "--plan")
    assert (result.code, "--plan times this machine" in result.err) == (2, True)
    assert call("extract", "x", "--backbone", "resnet18", "--image-size", "big").code == 2
    for command, option, given, example in (
        ("extract", "--backbone-arg", "nonsense", "output_stride=16"),
        ("extract", "--backbone-arg", "output-stride=16", "output_stride=16"),
        ("fit", "--head-arg", "nonsense", "C=0.1"),
    ):
        result = call(command, "x", "--backbone", "resnet18", option, given)
        assert result.code == 2
        assert f"'{given}'; write NAME=VALUE, as in {example}" in result.err


def test_errors_are_one_line_without_traceback(call, images: Path, tmp_path: Path) -> None:
    for args, words in (
        (("extract", images, "--backbone", "resnet81", "--random"), "did you mean"),
        (("extract", images, *BACKBONE, "--features", "stage9.avg"), "stage9"),
        (("extract", images, *BACKBONE, "--features", "final.average"), "average"),
        (("extract", tmp_path / "nothing", *BACKBONE), "nothing"),
        (("fit", images, *BACKBONE, "--out", tmp_path / "m", "--head", "linaer"), "'linear'"),
        (("fit", images, *BACKBONE, "--out", tmp_path / "m", "--head-arg", "c=1"), "'c'"),
        (("extract", images, *BACKBONE, "--device", "tpu"), "tpu"),
        (("extract", images, *BACKBONE, "--on", "rai"), "did you mean 'ray'"),
        (("extract", images, *BACKBONE, "--backbone-arg", "speed=3"), "speed"),
        (("predict", tmp_path / "no-model", images), "no-model"),
        (("backbones", "nosuchnet"), "nosuchnet"),
        (("store", "info", "abc"), "abc"),
    ):
        result = call(*args)
        assert result.code == 1, args
        assert result.err.startswith("Error: ")
        assert words in result.err
        assert len(result.err.strip().splitlines()) == 1
        assert "Traceback" not in result.err


def test_debug_shows_the_traceback(images: Path) -> None:
    from transferkit.cli import main

    with pytest.raises(ValueError, match="resnet81"):
        main(["--debug", "extract", str(images), "--backbone", "resnet81", "--random"])


@pytest.mark.kills
@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_ctrl_c_keeps_what_is_done(images: Path, tmp_path: Path) -> None:
    script = (
        "import signal, time, transferkit.extract.writing as writing\n"
        # A test run in the background is started with SIGINT ignored.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from transferkit.forward import Forward\n"
        "writing.SHARD_ROWS = 2\n"
        "rows = Forward.rows\n"
        "def slow(self, pixels):\n"
        "    time.sleep(0.4)\n"
        "    return rows(self, pixels)\n"
        "Forward.rows = slow\n"
        "from transferkit.cli import main\n"
        "main()\n"
    )
    store = tmp_path / "store"
    args = ["extract", str(images), *BACKBONE, "--store", str(store), "--batch-size", "2"]
    with subprocess.Popen(
        [sys.executable, "-c", script, *args], stderr=subprocess.PIPE, text=True
    ) as process:
        while not list(store.rglob("*.safetensors")):
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Interrupted" in err
    assert "Traceback" not in err

    from transferkit.store import FeatureStore

    [info] = FeatureStore(store).list_keys()
    assert 0 < info.n_rows < 24
    assert FeatureStore(store).verify() == []
