"""rxnodes with an aiohttp whose parser it does not know: it receives in plain Python."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import aiohttp  # noqa: F401 - it has found its own parser before rxnodes looks for it

if TYPE_CHECKING:
    from benchmarks.job import Job, Metrics

modules: dict[str, Any] = sys.modules
modules["aiohttp._websocket.reader"] = None

from benchmarks.contenders import nodes  # noqa: E402
from rxnodes.transport.frames import FrameParser  # noqa: E402
from rxnodes.transport.plain_parser import PlainParser  # noqa: E402


async def receive(job: Job) -> Metrics:
    """Counts messages, in so many subscribers."""
    assert FrameParser is PlainParser
    return await nodes.receive(job)
