"""A FastAPI application that holds a connection in its lifespan."""

from __future__ import annotations

import sys

import aiohttp
import pytest
from foreign import EXAMPLES, SERVERS, ForeignServer, needs

pytestmark = [pytest.mark.slow, needs("fastapi", "uvicorn")]


async def test_it_asks_again_when_the_oracle_comes_back():
    command = [sys.executable, "-m", "uvicorn", "fastapi_app:app", f"--app-dir={EXAMPLES}", "--port={port}"]
    async with ForeignServer(sys.executable, str(SERVERS / "oracle.py"), "{port}") as oracle:
        app = ForeignServer(*command, env={"ORACLE": f"ws://127.0.0.1:{oracle.port}"})
        async with app, aiohttp.ClientSession(f"http://127.0.0.1:{app.port}") as http:

            async def ask(question):
                async with http.get(f"/ask/{question}") as answer:
                    return answer.status, await answer.json()

            async def until(state):
                while (await (await http.get("/health")).json()) != {"oracle": state}:
                    pass

            await until("open")
            assert [(await ask(word))[1]["answer"] for word in ("why", "how")] == ["WHY", "HOW"]
            assert await ask("the meaning of life") == (504, {"detail": "'oracle': no answer within 2 s"})
            oracle.kill()
            await until("reconnecting")
            status, problem = await ask("why")
            assert (status, problem["detail"].partition(",")[2]) == (503, " not open: request not sent")
            await oracle.start()
            await until("open")
            assert (await ask("why"))[1]["answer"] == "WHY"
            await app.terminate()
            async with http.ws_connect(f"ws://127.0.0.1:{oracle.port}") as socket:
                await socket.send_json({"id": 0, "ask": "goodbyes"})
                assert await socket.receive_json() == {"id": 0, "answer": 1}
