"""JSON-RPC, against a language server."""

from __future__ import annotations

import sys

import pytest
from foreign import ForeignServer, needs, recipe

pytestmark = [pytest.mark.slow, needs("pylsp")]


async def test_files_are_looked_at_again_when_the_server_comes_back(tmp_path):
    good, bad = tmp_path / "good.py", tmp_path / "bad.py"
    good.write_text("first = 1\nsecond = 2\n")
    bad.write_text("import os\n")
    async with ForeignServer(sys.executable, "-m", "pylsp", "--ws", "--host=127.0.0.1", "--port={port}") as server:
        async with recipe("json_rpc.py", f"ws://127.0.0.1:{server.port}", str(good), str(bad)) as program:
            for _ in range(2):
                # Answers and notifications come in any order.
                wanted = {"['first', 'second']", "[\"'os' imported but unused\"]"}
                while wanted:
                    await program.until(lambda line: line in wanted)  # noqa: B023 - called at once
                    wanted.discard(program.lines[-1])
                if server.starts == 1:
                    server.kill()
                    await server.start()
            await program.interrupt()
