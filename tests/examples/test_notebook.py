"""The notebook, executed in a kernel of its own: its cells show what is saved in it."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[2] / "examples/notebook.ipynb"

#: How long a cell may take on a busy machine, in seconds.
PATIENCE = 60


@pytest.fixture(autouse=True)
def _nobodys_settings(tmp_path, monkeypatch):
    """Neither IPython's startup files nor Jupyter's settings of whoever runs the tests count."""
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path))


def shown(cell):
    return [
        output["text"] if output.output_type == "stream" else output["data"]["text/plain"] for output in cell.outputs
    ]


def test_its_cells_show_what_is_saved_in_it():
    saved = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(saved)
    run = nbformat.read(NOTEBOOK, as_version=4)
    for cell in run.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    # A cell that raises is a CellExecutionError, with its traceback.
    NotebookClient(run, timeout=PATIENCE).execute()
    code = [cell for cell in saved.cells if cell.cell_type == "code"]
    assert [shown(cell) for cell in run.cells if cell.cell_type == "code"] == [shown(cell) for cell in code]
    assert all(shown(cell) for cell in code)


def test_nothing_of_a_machine_is_saved_in_it():
    text = NOTEBOOK.read_text()
    assert "/home/" not in text
    assert "execution" not in {key for cell in nbformat.reads(text, as_version=4).cells for key in cell.metadata}
