"""The transport over aiohttp, and the only place that imports it."""

from rxnodes.transport.aiohttp.transport import AiohttpTransport

__all__ = ["AiohttpTransport"]
