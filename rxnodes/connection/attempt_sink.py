"""The sink of one attempt: what its link calls."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from rxnodes.errors import ConnectError
from rxnodes.headers import Headers
from rxnodes.lifecycle.events import Traffic
from rxnodes.lifecycle.inputs import CloseReceived, CloseSent, HandshakeDone, LoginDone, LoginFailed, Lost, Violated
from rxnodes.lifecycle.machine import closed_during_login
from rxnodes.transport.receipts import Sent, Unsent

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from rxnodes.connection.driver import Driver
    from rxnodes.connection.logging_in import LoggingIn
    from rxnodes.errors import ProtocolError, RxNodesError
    from rxnodes.transport.receipts import Receipt

__all__ = ["AttemptSink"]


class AttemptSink:
    """What an attempt's link calls. It feeds the machine, with the attempt's numbers.

    If there is a login, messages go to it until the attempt is open, and the attempt lasts until login and link have
    ended.

    Attributes:
        messages: Where messages go.
        failure: How the transport failed, if it did. It is why the attempt ended, whatever the transport says.
        stranded: Messages whose outcome a transport that failed may never tell.
    """

    __slots__ = (
        *("_attempt", "_driver", "_is_logging_in", "_is_open", "_is_over", "_login", "_loss", "_session", "failure"),
        *("messages", "stranded"),
    )

    def __init__(self, driver: Driver, session: int, attempt: int, login: LoggingIn | None = None) -> None:
        self._driver = driver
        self._session = session
        self._attempt = attempt
        self._login = login
        # Whether messages are for everybody. Before the handshake is done, none can come.
        self._is_open = login is None
        self._is_logging_in = False
        self._is_over = False
        self._loss: Lost | None = None
        self.messages = driver.inbound.take if login is None else login.take
        self.failure: RxNodesError | None = None
        self.stranded: tuple[Receipt, ...] = ()

    # The login

    def log_in(self, handshake: HandshakeDone) -> None:
        """Lets `after_connect` log in."""
        assert self._login is not None
        self._is_logging_in = True
        self._login.begin(handshake, self._on_login_ended)

    def cancel_login(self) -> None:
        """Cancels `after_connect`, if it is under way. The second time, it is left behind."""
        if self._login is not None and self._is_logging_in:
            self._login.cancel()
            self._ignore_messages()

    def catch_up(self, judge: Callable[[], object]) -> None:
        """Calls `judge` once a login that is under way has taken what has come."""
        if self._login is not None and self._is_logging_in:
            self._login.catch_up(judge)
        else:
            judge()

    def open_to_all(self) -> None:
        """The attempt is open: everybody gets what the login left, and what comes from here on."""
        if self._is_open:
            return
        assert self._login is not None
        self._is_open = True
        for messages in self._login.leave():
            self._driver.inbound.post(messages)
        self.messages = _ignore if self._is_over else self._driver.inbound.take
        self._driver.read_or_not()

    def is_held(self, *, by_consumers: bool) -> bool:
        """Whether reading must pause: for consumers, or, before the attempt is open, for its login."""
        return by_consumers if self._is_open or self._login is None else self._login.is_full

    def _on_login_ended(self, outcome: bool | ConnectError | None) -> None:  # noqa: FBT001 - as `begin` says
        self._driver.behind_messages(partial(self._tell_login, outcome))

    def _tell_login(self, outcome: bool | ConnectError | None) -> None:  # noqa: FBT001
        """The login has ended. If its link has ended before, the loss says why the login failed."""
        self._is_logging_in = False
        loss, self._loss = self._loss, None
        if outcome is True:
            self._driver.feed(LoginDone(self._session, self._attempt))
        elif isinstance(outcome, ConnectError) and loss is None:
            self._driver.feed(LoginFailed(self._session, self._attempt, outcome))
        if not self._is_open:
            self._ignore_messages()
            if loss is not None:
                why = outcome if isinstance(outcome, ConnectError) else _ended_during_login(loss.error)
                loss = replace(loss, error=self.failure or why)
        if loss is not None:
            self._end(loss)

    def _ignore_messages(self) -> None:
        """Drops what still comes: the attempt will never open."""
        assert self._login is not None
        self.messages = _ignore
        self._login.leave()
        self._driver.read_or_not()

    # The link

    def opened(self, subprotocol: str | None, headers: Mapping[str, str]) -> None:
        """The handshake is done."""
        self._driver.feed(HandshakeDone(self._session, self._attempt, subprotocol, Headers(headers)))

    def sent(self, receipts: Collection[Receipt], /) -> None:
        """These messages have left for the network."""
        if self._driver.outbound.observers:
            login = self._login
            self._driver.outbound.show([it for it in receipts if login is None or not login.has_sent(it)])
        self._driver.outbound.settle(receipts, Sent)

    def unsent(self, receipts: Collection[Receipt], /) -> None:
        """These messages never leave."""
        self._driver.behind_messages(partial(self._driver.outbound.settle, receipts, Unsent))

    def overflowed(self, receipts: Collection[Receipt], /) -> None:
        """These messages had no room in the send queue."""
        self._driver.outbound.overflow(receipts)

    def close_received(self, code: int, reason: str, *, tcp_ended: bool = False) -> None:
        """The peer's Close frame has come."""
        if self._login is not None:
            self._login.end(closed_during_login(code, reason))
        input_ = CloseReceived(self._session, self._attempt, code, reason, tcp_ended)
        self._driver.behind_messages(partial(self._driver.feed, input_))

    def close_sent(self) -> None:
        """Our Close frame has left."""
        self._driver.feed(CloseSent(self._session, self._attempt))

    def ponged(self, round_trip: float) -> None:
        """The peer has answered a ping."""
        if not self._is_over:
            self._driver.publisher.publish_latency(round_trip)

    def violated(self, error: ProtocolError) -> None:
        """The peer broke the protocol."""
        self._driver.behind_messages(partial(self._driver.feed, Violated(self._session, self._attempt, error)))

    def lost(self, error: RxNodesError | None, traffic: Traffic) -> None:
        """Nothing of the link is left."""
        if self._is_over:
            # A transport that failed may report its end late.
            return
        self._is_over = True
        self.messages = _ignore
        stranded = [receipt for receipt in self.stranded if receipt.shared_outcome is None]
        if stranded:
            self._driver.outbound.settle(stranded, Unsent)
            traffic = traffic.plus(Traffic(unsent=len(stranded)))
        loss = Lost(self._session, self._attempt, self.failure or error, traffic)
        if self._login is not None and self._is_logging_in:
            self._wait_for_login(self._login, loss)
        else:
            self._end(loss)

    def _wait_for_login(self, login: LoggingIn, loss: Lost) -> None:
        """The link is gone. Its login may still take what had come."""
        self._loss = loss
        self._driver.on_link_gone()
        login.lose(_ended_during_login(loss.error), self._driver.state.profile.policy.close_timeout)

    def _end(self, loss: Lost) -> None:
        """Nothing is left of the attempt. Traffic of a login, or of an attempt that never opened, does not count."""
        self._driver.on_lost(lambda: replace(loss, traffic=self.beyond_login(loss.traffic)))

    def beyond_login(self, traffic: Traffic) -> Traffic:
        """Which part of the link's traffic so far counts for the session."""
        if self._login is None:
            return traffic
        return self._login.without_own(traffic) if self._is_open else Traffic()


def _ended_during_login(error: RxNodesError | None) -> ConnectError:
    says = "the connection ended during the login"
    return ConnectError(f"{says}: {error}" if error else says)


def _ignore(messages: list[str] | list[bytes]) -> None:
    """Takes messages of an attempt that is over."""
