"""Links that ask for permission before they read and write.

They are for a process that may be cut off, or stopped for a while, without noticing it. When it goes on, its sockets
hold what has come meanwhile, and another process may have taken its place. So a link asks at the last moment: before
it looks at what a read has brought, and before each write, once for all messages of that read or write.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from rxnodes.errors import ConnectionLost
from rxnodes.transport.aiohttp.link import AiohttpLink
from rxnodes.transport.aiohttp.permitted_writer import PermittedWriter
from rxnodes.transport.aiohttp.reader import Reader

if TYPE_CHECKING:
    from collections.abc import Callable

    import aiohttp
    from multidict import CIMultiDict

    from rxnodes.transport.aiohttp.writer import Writer
    from rxnodes.transport.base import Sink, Target
    from rxnodes.wire.handshake import Agreement
    from rxnodes.wire.masking import Masks

__all__ = ["PermittedLink"]


class PermittedLink(AiohttpLink):
    """A link that ends itself at once when it may not read or write any more.

    Args:
        session: The client session that dials.
        target: Where to dial, and how.
        sink: Receives what happens.
        masks: The masks of the frames.
        permit: Whether anything may be read or written now.
    """

    __slots__ = ("_permit",)

    def __init__(
        self, session: aiohttp.ClientSession, target: Target, sink: Sink, masks: Masks, permit: Callable[[], bool]
    ) -> None:
        self._permit = permit
        super().__init__(session, target, sink, masks)

    def _make_sides(self, masks: Masks) -> tuple[Writer, Reader]:
        writer = PermittedWriter(self.loop, self._sink, self._sockets, self._target.send_queue, masks)
        reader = PermittedReader(self.loop, self._sink, self._sockets, writer)
        writer.permit = reader.permit = self._permit
        writer.forbid = reader.forbid = self._forbid
        return writer, reader

    def _take_over(self, response: aiohttp.ClientResponse, agreement: Agreement, headers: CIMultiDict[str]) -> None:
        if self._permit():
            super()._take_over(response, agreement, headers)
        else:
            self._forbid()
            response.close()

    def _forbid(self) -> None:
        """Ends the link for good, even if reading and writing is permitted again later."""
        self._error = ConnectionLost("the connection was given up, because it may be another's by now")
        self.abort()


class PermittedReader(Reader):
    """A reader that asks for permission.

    Attributes:
        permit: Whether it may read.
        forbid: Called when it may not.
    """

    __slots__ = ("forbid", "permit")

    permit: Callable[[], bool]
    forbid: Callable[[], None]

    def feed(self, data: bytes) -> None:
        """Parses what has come, if it may."""
        if self.permit():
            # Looked up past `super()`, which takes as long as the question.
            Reader.feed(self, data)
        else:
            self.forbid()
