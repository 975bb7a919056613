"""A web application that asks a WebSocket server: ORACLE=ws://HOST/ uvicorn --app-dir examples fastapi_app:app."""

import itertools
import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, HTTPException, Request

from rxnodes import ConnectionLost, Project, RequestTimeout, SendError
from rxnodes.websocket import request

numbers = itertools.count(1)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
    """Holds the connection for as long as the application runs. Leaving the project closes it in order."""
    settings = {"url": os.environ["ORACLE"], "reconnect": {"enabled": True, "max_delay": 2}}
    async with Project(websocket={"oracle": settings}) as project:
        app.state.oracle = project.websocket("oracle")
        app.state.oracle.start()
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/health")
async def health(http: Request) -> dict[str, str]:
    """Says how the connection is."""
    return {"oracle": http.app.state.oracle.state.value}


@app.get("/ask/{question}")
async def ask(question: str, http: Request) -> Any:
    """Asks the oracle. While it is not there, this fails at once."""
    number = next(numbers)
    message = {"id": number, "ask": question}
    try:
        return await request(http.app.state.oracle, message, match=("id", number), timeout=2, codec="json")
    except (SendError, ConnectionLost) as error:
        raise HTTPException(503, str(error)) from error
    except RequestTimeout as error:
        raise HTTPException(504, str(error)) from error
