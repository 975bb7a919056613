"""The import graph is the one of the design."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_imports_run_downward_only():
    command = [
        sys.executable,
        "-c",
        "from importlinter.cli import lint_imports_command; lint_imports_command()",
        "--no-cache",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_pytest_plugin_costs_nothing_until_it_is_used():
    program = "import sys, rxnodes.testing.pytest_plugin; print(*sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)  # noqa: S603
    loaded = set(done.stdout.split())
    assert not loaded & {"aiohttp", "asyncio", "reactivex", "pydantic", "rxnodes.connection", "rxnodes.testing.server"}
