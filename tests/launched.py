"""Start a program in two processes on one machine, as torchrun does."""

import os
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def run_in_two(*arguments):
    """What two processes of Python print, each with its own rank: two pairs (stdout, stderr)."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    processes = [_start(rank, port, arguments) for rank in range(2)]
    outputs = [process.communicate(timeout=200) for process in processes]
    assert [p.returncode for p in processes] == [0, 0], outputs[0][1][-2000:]
    return outputs


def _start(rank, port, arguments):
    environment = {
        **os.environ,
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "ACCELERATE_USE_CPU": "true",
    }
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
