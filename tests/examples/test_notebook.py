"""The notebook, executed in a kernel of its own: its cells show what is saved in it.

What reads and runs it is imported where it is used: that takes seconds, and every worker imports every file of tests.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from foreign import needs

pytestmark = pytest.mark.slow
needs_a_kernel = needs("ipykernel", "nbclient", "nbformat")

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


@needs_a_kernel
def test_its_cells_show_what_is_saved_in_it():
    import nbformat
    from nbclient import NotebookClient

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
    assert "execution" not in {key for cell in json.loads(text)["cells"] for key in cell["metadata"]}


@needs_a_kernel
def test_its_cells_can_be_run_again_and_in_another_order():
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(NOTEBOOK, as_version=4)
    saved = [(cell.source, shown(cell)) for cell in notebook.cells if cell.cell_type == "code"]
    first = {source.splitlines()[0]: number for number, (source, _) in enumerate(saved)}
    with_await = first["from contextlib import AsyncExitStack"]
    in_a_thread = first["from contextlib import ExitStack"]
    start, ask, send, heard, leave = range(with_await + 1, in_a_thread)
    ask_there, send_there, leave_there = range(in_a_thread + 1, len(saved))

    client = NotebookClient(nbformat.v4.new_notebook(), timeout=PATIENCE)

    def run(source):
        cell = nbformat.v4.new_code_cell(source)
        client.nb.cells.append(cell)
        # A cell that raises is a CellExecutionError, with its traceback.
        return shown(client.execute_cell(cell, len(client.nb.cells) - 1))

    def run_as_saved(*numbers):
        for number in numbers:
            source, expected = saved[number]
            assert run(source) == expected, source

    with client.setup_kernel():
        # Again and again within one project, and one that is left twice.
        run_as_saved(with_await, start, start, send, ask, ask, send, leave, leave)
        # What was is still known, and nothing starts any more.
        assert run("await chat.wait_stopped() is chat.last_stopped, (await chat.wait_started()).session") == [
            "(True, 1)"
        ]
        assert run(saved[start][0]) == ["<ConnectionState.CLOSED: 'closed'>"]
        # From the top, in another order.
        run_as_saved(with_await, start, send, ask)
        assert run(saved[heard][0]) == ["['and once more', 'hello']"]
        # The second half without an end of the first, which lives on in its own stack.
        run("first_stack, first_chat = stack, chat")
        run_as_saved(in_a_thread, send_there, ask_there)
        assert run(saved[leave_there][0]) == [
            "(['and once more', 'hello'], <ConnectionState.CLOSED: 'closed'>, 1000)",
        ]
        assert run("await chat.wait_stopped() is chat.last_stopped, first_chat.state.value") == ["(True, 'open')"]
        run_as_saved(in_a_thread, ask_there, send_there, leave_there)
        assert run("await first_stack.aclose(); first_chat.last_stopped.was_clean") == ["True"]
