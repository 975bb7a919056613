"""What the link of one attempt calls."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol

from rxnodes.lifecycle.events import Traffic
from rxnodes.lifecycle.inputs import CloseReceived, CloseSent, HandshakeDone, Lost, Violated
from rxnodes.transport.receipts import Sent, Unsent

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from multidict import CIMultiDict

    from rxnodes.connection.inbound import Inbound
    from rxnodes.connection.outbound import Outbound
    from rxnodes.errors import ProtocolError, RxNodesError
    from rxnodes.lifecycle.inputs import Input
    from rxnodes.transport.receipts import Receipt

__all__ = ["AttemptSink"]


class _Driver(Protocol):
    """What a sink needs of the connection's driver.

    Attributes:
        inbound: Where messages go.
        outbound: What keeps the receipts.
    """

    inbound: Inbound
    outbound: Outbound

    def feed(self, input_: Input) -> None:
        """Feeds the machine."""
        ...

    def behind_messages(self, act: Callable[[], None]) -> None:
        """Does what ends an attempt behind its messages."""
        ...

    def on_pong(self, round_trip: float) -> None:
        """The peer has answered a ping."""
        ...

    def on_lost(self, input_: Lost) -> None:
        """The link of the current attempt is gone."""
        ...


class AttemptSink:
    """What an attempt's link calls. It puts the attempt's numbers on what the link says.

    Attributes:
        messages: Where messages go.
        failure: How the transport failed, where it did. It is why the attempt ended, whatever the transport says.
        stranded: Messages of which a transport that failed may never say what became of them.
    """

    __slots__ = ("_attempt", "_driver", "_feed", "_is_over", "_session", "failure", "messages", "stranded")

    def __init__(self, driver: _Driver, session: int, attempt: int) -> None:
        self._driver = driver
        self._feed = driver.feed
        self._session = session
        self._attempt = attempt
        self._is_over = False
        self.messages = driver.inbound.take
        self.failure: RxNodesError | None = None
        self.stranded: tuple[Receipt, ...] = ()

    def opened(self, subprotocol: str | None, headers: CIMultiDict[str]) -> None:
        """The handshake is done."""
        self._feed(HandshakeDone(self._session, self._attempt, subprotocol, headers))

    def sent(self, receipts: Collection[Receipt], /) -> None:
        """These messages have left for the network."""
        self._driver.outbound.settle(receipts, Sent)

    def unsent(self, receipts: Collection[Receipt], /) -> None:
        """These messages never will."""
        self._driver.behind_messages(partial(self._driver.outbound.settle, receipts, Unsent))

    def overflowed(self, receipts: Collection[Receipt], /) -> None:
        """These messages had no room in the send queue."""
        self._driver.outbound.overflow(receipts)

    def close_received(self, code: int, reason: str, *, tcp_ended: bool = False) -> None:
        """The peer's Close frame has come."""
        input_ = CloseReceived(self._session, self._attempt, code, reason, tcp_ended)
        self._driver.behind_messages(partial(self._feed, input_))

    def close_sent(self) -> None:
        """Our Close frame has left."""
        self._feed(CloseSent(self._session, self._attempt))

    def ponged(self, round_trip: float) -> None:
        """The peer has answered a ping."""
        if not self._is_over:
            self._driver.on_pong(round_trip)

    def violated(self, error: ProtocolError) -> None:
        """The peer broke the protocol."""
        self._driver.behind_messages(partial(self._feed, Violated(self._session, self._attempt, error)))

    def lost(self, error: RxNodesError | None, traffic: Traffic) -> None:
        """Nothing of the link is left."""
        if self._is_over:
            # A transport that failed may say so late.
            return
        self._is_over = True
        self.messages = _ignore
        stranded = [receipt for receipt in self.stranded if receipt.shared_outcome is None]
        if stranded:
            self._driver.outbound.settle(stranded, Unsent)
            traffic = traffic.plus(Traffic(unsent=len(stranded)))
        self._driver.on_lost(Lost(self._session, self._attempt, self.failure or error, traffic))


def _ignore(messages: list[str] | list[bytes]) -> None:
    """What comes of an attempt that is over."""
