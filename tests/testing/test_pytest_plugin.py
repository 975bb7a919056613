"""The pytest plugin, in processes of its own: as users have it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import rxnodes.testing

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
ASYNCIO = ("-p", "pytest_asyncio.plugin", "-o", "asyncio_default_fixture_loop_scope=function")

WORKS = """
    import asyncio, gc
    from rxnodes.testing import echo
    from websockets.asyncio.client import connect

    ports = []

    {mark}
    async def test_talks(websocket_server, chaos_proxy):
        server = await websocket_server(echo)
        proxy = await chaos_proxy(server.url)
        ports.extend([server.port, proxy.port])
        async with connect(proxy.url, proxy=None) as ws:
            await ws.send("x")
            assert await asyncio.wait_for(ws.recv(), 5) == "x"

    {mark}
    async def test_all_is_closed_afterwards():
        gc.collect()
        assert len(ports) == 2
        for port in ports:
            try:
                await asyncio.open_connection("127.0.0.1", port)
            except ConnectionRefusedError:
                continue
            raise AssertionError(port)
"""

FAILS = """
    import asyncio

    async def script(peer):
        raise LookupError("in the script")

    async def use(websocket_server):
        server = await websocket_server(script)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        assert await asyncio.wait_for(reader.read(), 5) == b""
        writer.close()
"""


def run(directory, source, *arguments):
    """Runs pytest on `source` in another process, with this plugin and pytest-asyncio and no other."""
    lines = source.splitlines()
    directory.joinpath("test_it.py").write_text("\n".join(line.removeprefix("    ") for line in lines))
    directory.joinpath("pytest.ini").write_text("[pytest]\n")
    return subprocess.run(  # noqa: S603 - ourselves
        [sys.executable, "-m", "pytest", "-p", "rxnodes.testing.pytest_plugin", "-W", "error", *arguments],
        cwd=directory,
        env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.mark.parametrize(
    ("mode", "mark"),
    [
        ("auto", ""),
        ("strict", "import pytest\n    @pytest.mark.asyncio"),
        ("strict", "import pytest\n    @pytest.mark.asyncio(loop_scope='module')"),
    ],
)
def test_both_fixtures_with_pytest_asyncio(tmp_path, mode, mark):
    done = run(tmp_path, WORKS.format(mark=mark), *ASYNCIO, f"--asyncio-mode={mode}")
    assert "2 passed" in done.stdout, done.stdout
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("fixtures", ["websocket_server", "a_loop, websocket_server"])
def test_a_failed_script_is_an_error_whichever_ends_first(tmp_path, fixtures):
    source = (
        FAILS
        + f"""
    import pytest_asyncio

    @pytest_asyncio.fixture
    async def a_loop():
        yield

    async def test_it({fixtures}):
        await use(websocket_server)
"""
    )
    done = run(tmp_path, source, *ASYNCIO, "--asyncio-mode=auto")
    assert "1 passed, 1 error" in done.stdout, done.stdout
    assert "LookupError: in the script" in done.stdout


def test_without_any_async_plugin(tmp_path):
    source = (
        FAILS
        + """
    def test_it(websocket_server):
        asyncio.run(use(websocket_server))
"""
    )
    done = run(tmp_path, source)
    assert "1 passed, 1 error" in done.stdout, done.stdout
    assert "LookupError: in the script" in done.stdout


def test_a_loop_that_is_closed_with_tasks_in_it_is_an_error(tmp_path):
    source = (
        FAILS
        + """
    def test_it(websocket_server):
        async def script(peer):
            await peer.hang()

        loop = asyncio.new_event_loop()
        loop.run_until_complete(websocket_server(script))
        loop.close()
"""
    )
    done = run(tmp_path, source)
    assert "a server was left open" in done.stdout, done.stdout
    assert done.returncode != 0


def test_importing_the_plugin_brings_nothing_but_pytest():
    code = (
        "import sys, pytest; before = set(sys.modules); import rxnodes.testing.pytest_plugin;"
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run(  # noqa: S603 - ourselves
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    brought = set(done.stdout.split())
    assert "rxnodes.testing.pytest_plugin" in brought
    assert not {"asyncio", "aiohttp", "reactivex", "pydantic", "ssl", "rxnodes.testing.server"} & brought


def test_every_exported_name_can_be_had():
    for name in rxnodes.testing.__all__:
        assert getattr(rxnodes.testing, name) is not None
    assert set(rxnodes.testing.__all__) <= set(dir(rxnodes.testing))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        rxnodes.testing.nonsense  # noqa: B018
