"""The programs of the documentation pass mypy and pyright, both strict, the README's included.

Only where this file is named, as with the other types: `collect_ignore` in conftest.py.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path

import pytest
from programs import environment

ROOT = Path(__file__).parents[1]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def programs(tmp_path_factory):
    """A file for each, whose name says where it stands."""
    folder = tmp_path_factory.mktemp("programs")
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*.md")]:
        text = page.read_text()
        for match in re.finditer(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
            line = text.count("\n", 0, match.start()) + 2
            name = re.sub(r"\W", "_", str(page.relative_to(ROOT).with_suffix("")))
            # Its lines have the numbers that they have on the page.
            (folder / f"{name}_{line}.py").write_text("\n" * (line - 1) + match[1])
    assert len([*folder.iterdir()]) > 40
    return folder


async def said_by(*words, cwd):
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        *words,
        cwd=cwd,
        env=environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    return said.decode()


async def test_mypy_has_nothing_to_say(programs):
    # Recipes are files of examples/, whose lambdas within pipes mypy cannot infer: examples/README.md.
    files = [str(file) for file in programs.iterdir() if not file.name.startswith("docs_recipes_")]
    # From here, so that what `mypy` has checked by itself is not checked again.
    said = await said_by("mypy", "--no-error-summary", *files, cwd=ROOT)
    assert said.splitlines() == []


async def test_pyright_has_nothing_to_say(programs):
    settings = {"typeCheckingMode": "strict", "pythonVersion": "3.11"}
    (programs / "pyrightconfig.json").write_text(json.dumps(settings))
    said = await said_by("pyright", "--pythonpath", sys.executable, "--outputjson", cwd=programs)
    found = json.loads(said[said.index("{") :])["generalDiagnostics"]
    assert [f"{Path(it['file']).name}: {it['message']}" for it in found] == []
