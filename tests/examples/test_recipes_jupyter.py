"""A cell's execution by a Jupyter server and its kernel."""

from __future__ import annotations

import sys

import aiohttp
import pytest
import pytest_asyncio
from foreign import ForeignServer, load, needs, recipe
from reactivex import operators as ops

from rxnodes import Project

pytestmark = [pytest.mark.slow, needs("jupyter_server", "ipykernel")]

TOKEN = "of-nobody"  # noqa: S105 - as it says
CELLS = ["'state' in globals()", "state = 6 * 7; print('hello')", "state", "1 / 0"]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def server(tmp_path_factory):
    tmp_path = tmp_path_factory.mktemp("jupyter")
    command = [sys.executable, "-m", "jupyter_server", "--allow-root", "--no-browser", "--port={port}"]
    options = [f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={tmp_path}", "--ServerApp.port_retries=0"]
    own = {name: str(tmp_path) for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")}
    async with ForeignServer(*command, *options, env=own) as server:
        yield server


async def all_cells_have_run(program):
    await program.until(lambda line: "'ename': 'ZeroDivisionError'" in line)
    is_old, hello, result, _ = program.lines[-4:]
    assert "'text/plain': 'False'" in is_old
    assert hello == "{'name': 'stdout', 'text': 'hello\\n'}"
    assert "'text/plain': '42'" in result


async def test_cells_run_in_a_new_kernel_when_the_server_comes_back(server):
    async with recipe("jupyter.py", f"http://127.0.0.1:{server.port}", TOKEN, *CELLS) as program:
        await all_cells_have_run(program)
        server.kill()
        await server.start()
        await all_cells_have_run(program)
        await program.interrupt()


async def test_a_token_that_is_refused_is_not_tried_again(server):
    async with recipe("jupyter.py", f"http://127.0.0.1:{server.port}", "another") as program:
        (complaint,) = await program.complaints()
    assert complaint.startswith("kernel: 403, ")


async def test_a_cell_that_is_disposed_is_interrupted(server):
    jupyter = load("jupyter")
    headers = {"Authorization": f"token {TOKEN}"}
    async with aiohttp.ClientSession(headers=headers, raise_for_status=True) as http:
        kernel = await (await http.post(f"http://127.0.0.1:{server.port}/api/kernels")).json()
    settings = {"url": f"ws://127.0.0.1:{server.port}/api/kernels/{kernel['id']}/channels", "headers": headers}
    async with Project(websocket={"kernel": settings}) as project:
        kernel = project.websocket("kernel")
        kernel.start()
        await kernel.wait_started()
        endless = jupyter.run(kernel, "import time; print('hello')\nwhile True: time.sleep(0.01)")
        assert (await endless.pipe(ops.take(1)))["text"] == "hello\n"
        assert (await jupyter.run(kernel, "6 * 7"))["data"]["text/plain"] == "42"
