"""Every notebook runs from its first cell to its last, and was saved with its outputs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.notebooks

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
# In a process of its own: what the kernel's machinery warns of isn't ours.
SCRIPT = """
import sys
import nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(notebook, timeout=600, kernel_name="python3").execute(cwd=sys.argv[2])
print(sum(cell.cell_type == "code" and cell.execution_count is not None for cell in notebook.cells))
"""


def test_there_are_notebooks():
    assert [path.name for path in NOTEBOOKS] == [
        "01_first_model.ipynb",
        "02_compare_backbones.ipynb",
        "03_fine_tune.ipynb",
        "04_segment.ipynb",
        "05_detect.ipynb",
        "06_instances_and_oriented.ipynb",
    ]


# On a slow machine networks train for longer than other tests may take.
@pytest.mark.timeout(900)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs(path, tmp_path):
    cells = [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code"]
    assert any(cell["outputs"] for cell in cells)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, path, tmp_path],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert int(done.stdout.split()[-1]) == len(cells)
