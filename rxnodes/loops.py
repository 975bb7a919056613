"""The event loop that rxnodes makes where it makes one itself."""

from __future__ import annotations

import asyncio

__all__ = ["new_event_loop"]


def new_event_loop() -> asyncio.AbstractEventLoop:
    """A uvloop where that is installed (`pip install rxnodes[uvloop]`), and asyncio's own loop where it is not."""
    try:
        import uvloop  # noqa: PLC0415 - an extra
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
