"""The receipt of a message that is sent.

Each message has one, which carries it until it has left. An outcome is made only for a message that has a tag or a
receipt that is awaited. In the published wheels this file is compiled, and so are the two that a message goes through.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rxnodes.transport.awaiting import outcome_of

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from rxnodes.transport.receipts import Sender, SendOutcome, SharedOutcome

__all__ = ["Receipt"]


class Receipt:
    """The receipt of a message that was given to a connection.

    Awaiting it gives the outcome of the message: `Sent`, `SendDropped` or `Unsent`. It can be ignored. Any event loop
    may await it, more than once, and when the outcome is known already. In a fleet, awaiting it raises `SendUnknown` if
    the worker that holds the connection has not answered.

    Attributes:
        tag: The tag that the sender gave the message; `None`: none.
        size: The bytes of the message, without framing.
        shared_outcome: The outcome of the message, and of others with it; `None` while the message is under way.

    Example:
        >>> import asyncio
        >>> from rxnodes import Project, Sent
        >>> from rxnodes.testing import ScriptedPeer, ScriptedTransport
        >>> async def main() -> None:
        ...     transport = ScriptedTransport(ScriptedPeer.accept)
        ...     async with Project(websocket={"chat": "ws://chat.test/"}, transport=transport) as project:
        ...         chat = project.websocket("chat")
        ...         chat.start()
        ...         await chat.wait_started()
        ...         outcome = await chat.send("hello")
        ...         print(type(outcome).__name__, outcome.size)
        >>> asyncio.run(main())
        Sent 5
    """

    __slots__ = ("_sender", "_waiters", "batch", "due", "is_text", "payload", "shared_outcome", "size", "tag")

    # Set while it is handed over, or waits for the connection to open.
    batch: int
    due: float

    def __init__(self, sender: Sender, payload: bytes, is_text: bool, tag: object) -> None:  # noqa: FBT001 - hot path
        self._sender = sender
        self.payload = payload
        self.is_text = is_text
        self.size = len(payload)
        self.tag = tag
        self.shared_outcome: SharedOutcome | None = None
        self._waiters: list[Callable[[SharedOutcome], None]] | None = None

    def __repr__(self) -> str:
        state = "under way" if self.shared_outcome is None else self.shared_outcome.kind.__name__
        return f"<Receipt for {self.size} bytes, {state}>"

    @property
    def outcome(self) -> SendOutcome | None:
        """The outcome of the message; `None` while it is under way.

        Raises:
            SendUnknown: As when it is awaited.
        """
        return None if self.shared_outcome is None else self.shared_outcome.of(self)

    @property
    def is_watched(self) -> bool:
        """Whether anybody waits for the outcome."""
        return self.tag is not None or self._waiters is not None

    def __await__(self) -> Generator[Any, None, SendOutcome]:
        return outcome_of(self, self._sender.run_on_loop)

    def follow(self, callback: Callable[[SharedOutcome], None]) -> None:
        """Calls `callback` with the outcome, at once if that is known. On the connection's loop only."""
        if self.shared_outcome is not None:
            callback(self.shared_outcome)
            return
        if not self.is_watched:
            self._sender.watch()
        self._waiters = [*(self._waiters or ()), callback]

    def forget(self, callback: Callable[[SharedOutcome], None]) -> None:
        """Calls `callback` no more. On the connection's loop only."""
        self._waiters = [waiter for waiter in self._waiters or () if waiter is not callback]

    def take_waiters(self) -> Sequence[Callable[[SharedOutcome], None]]:
        """Takes out the callbacks that wait for the outcome."""
        waiters, self._waiters = self._waiters or (), None
        return waiters
