"""The parts that a connection has, whatever drives it, and how they end."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rxnodes.connection.inbound import Inbound
    from rxnodes.connection.outbound import Outbound
    from rxnodes.connection.own_loop import OwnLoop
    from rxnodes.connection.publisher import Publisher
    from rxnodes.connection.waiters import Waiters

__all__ = ["Parts"]


class Parts:
    """Has the parts of a connection. All of it on the loop's thread.

    Attributes:
        loop: The connection's loop.
        waiters: Those who wait for a session to open or to end.
        publisher: What the connection tells of itself.
        inbound: The messages that come.
        outbound: The messages that are sent.
    """

    __slots__ = ("inbound", "loop", "outbound", "publisher", "waiters")

    loop: OwnLoop
    waiters: Waiters
    publisher: Publisher
    inbound: Inbound
    outbound: Outbound

    def leave(self) -> None:
        """Completes all streams: the end is for good, and no session is live any more."""
        self.loop.leave()
        self.publisher.complete()
        self.outbound.outcomes.on_completed()
        self.inbound.complete()
        self.waiters.wake()

    def disown(self) -> None:
        """In a forked process: commands are refused, and what is still called does nothing."""
        self.loop.disown()
        self.waiters.disown()
