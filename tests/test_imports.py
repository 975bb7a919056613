"""The import graph is the one of the design."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_imports_run_downward_only():
    command = [
        sys.executable,
        "-c",
        "from importlinter.cli import lint_imports_command; lint_imports_command()",
        "--no-cache",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stdout + done.stderr


def imported(path: Path) -> set[str]:
    """The modules that a module imports from, and the names that it imports, with their modules."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def test_one_module_reaches_into_aiohttp_beyond_its_public_names():
    private = {
        path.relative_to(ROOT).as_posix()
        for path in ROOT.glob("rxnodes/**/*.py")
        if "aiohttp" in path.read_text()
        and any(name.startswith("aiohttp.") and "._" in name for name in imported(path))
    }
    assert private == {"rxnodes/transport/aiohttp/transport.py"}


#: What takes long to import, each longer than all of the standard library that a command needs.
HEAVY = {"aiohttp", "asyncio", "prompt_toolkit", "pydantic", "pydantic_settings", "reactivex"}


#: What a command needs that reads a settings folder, and connects to nothing.
NO_CONNECTION = {"asyncio", "pydantic", "pydantic_settings", "reactivex"}


@pytest.mark.slow(but_every=6)
@pytest.mark.parametrize(
    ("program", "may_load"),
    [
        ("import rxnodes", set()),
        ("import rxnodes.testing.pytest_plugin", set()),
        ("from rxnodes.cli.main import main; main([])", set()),
        ("import sys; sys.argv = ['rxnodes', '--version']; from rxnodes.__main__ import main; main()", set()),
        ("from rxnodes.cli.main import main; main(['toolbox'])", NO_CONNECTION),
        ("from rxnodes.cli.main import main; main(['check', 'settings'])", NO_CONNECTION),
        ("from rxnodes.cli.main import main; main(['echo', '--host', '256.0.0.0'])", {"asyncio", "reactivex"}),
        ("from rxnodes.cli.main import main; main(['run', 'nowhere:main'])", {"asyncio"}),
        ("from rxnodes.cli.main import main; main(['listen', 'chat'])", {*NO_CONNECTION, "aiohttp"}),
        (
            "from rxnodes.cli.main import main; main(['listen', 'ws://127.0.0.1:0/'])",
            {"aiohttp", "asyncio", "pydantic", "reactivex"},
        ),
        ("from rxnodes import Project; Project", NO_CONNECTION),
    ],
)
def test_nothing_is_imported_that_is_not_needed(program, may_load):
    program = f"import atexit, sys; atexit.register(lambda: print(*sys.modules, sep='\\n', file=sys.stderr)); {program}"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    loaded = set(done.stderr.splitlines())
    assert "rxnodes" in loaded
    assert loaded & HEAVY <= may_load


@pytest.mark.slow
def test_only_a_settings_folder_needs_pydantic_settings():
    program = """if True:
        import sys
        import rxnodes
        rxnodes.Project(websocket={"chat": "ws://127.0.0.1/"})
        assert not {"pydantic_settings", "dotenv"} & set(sys.modules)
        rxnodes.Project.load(sys.argv[1])
        assert "pydantic_settings" in sys.modules"""
    subprocess.run([sys.executable, "-c", program, str(ROOT / "settings")], check=True)  # noqa: S603
