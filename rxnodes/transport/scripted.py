"""A transport without sockets, whose peer a test plays.

Every dial adds a `ScriptedPeer` to the transport's `peers`. Its methods do what a server and a network can do. By
itself, a peer behaves well: it answers a Close frame with the same code, and then ends TCP. While the client does not
read, what the peer does waits in order; once the client closes, all of it comes, however much that is. The client's
messages have the outcomes that the network would give them.

Example:
    >>> import asyncio, threading
    >>> from rxnodes.connection.connection import Connection
    >>> from rxnodes.lifecycle.policy import Policy
    >>> from rxnodes.transport.base import Target
    >>> async def main() -> None:
    ...     transport = ScriptedTransport(lambda peer: peer.accept())
    ...     chat = Connection("chat", Target(url="ws://test/", redacted_url="ws://test/"), Policy(), transport)
    ...     chat.for_project.attach(asyncio.get_running_loop(), threading.get_ident())
    ...     chat.start()
    ...     await chat.wait_started()
    ...     chat.send("hello")
    ...     chat.stop(reason="done")
    ...     print(await chat.wait_stopped() == chat.last_stopped, transport.peer.received, transport.peer.close_frame)
    >>> asyncio.run(main())
    True ['hello'] (1000, 'done')
"""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING

from rxnodes.transport.scripted_peer import ScriptedPeer

if TYPE_CHECKING:
    from collections.abc import Callable

    from rxnodes.lifecycle.events import Traffic
    from rxnodes.transport.base import Sink, Target

__all__ = ["ScriptedPeer", "ScriptedTransport", "check_script"]


class ScriptedTransport:
    """Dials peers that a test plays.

    A script that raises breaks its link, and further dials are refused. When its project is left, the transport is
    closed, and raises the script's exception again, so that no test passes by accident.

    Args:
        script: What each new peer does first, one turn of the loop after the dial; `None`: nothing.

    Attributes:
        peers: One for each dial, the oldest first.

    Raises:
        TypeError: If the script is no plain function.

    Example:
        >>> from rxnodes import Project
        >>> def greet(peer: ScriptedPeer) -> None:
        ...     peer.accept()
        ...     peer.send("hello")
        ...     peer.close(1001, "bye")
        >>> async def main() -> None:
        ...     transport = ScriptedTransport(greet)
        ...     async with Project(websocket={"chat": "ws://chat.test/"}, transport=transport) as project:
        ...         project.websocket("chat").start()
        ...         stopped = await project.websocket("chat").wait_stopped()
        ...     print(stopped.code, stopped.reason, stopped.messages_received, transport.peer.close_frame)
        >>> asyncio.run(main())
        1001 bye 1 (1001, '')
    """

    def __init__(self, script: Callable[[ScriptedPeer], object] | None = None) -> None:
        if script is not None:
            check_script(script)
        self.script = script
        self.peers: list[ScriptedPeer] = []
        self._failures: list[BaseException] = []

    @property
    def peer(self) -> ScriptedPeer:
        """The peer of the last dial.

        Raises:
            IndexError: If nothing has been dialled yet.
        """
        return self.peers[-1]

    def dial(self, target: Target, sink: Sink) -> ScriptedLink:
        """Begins an attempt."""
        peer = ScriptedPeer(target, sink)
        self.peers.append(peer)
        if self._failures:
            asyncio.get_running_loop().call_soon(peer.fail, "a script has failed before")
        elif self.script is not None:
            asyncio.get_running_loop().call_soon(self._play, self.script, peer)
        return ScriptedLink(peer)

    def _play(self, script: Callable[[ScriptedPeer], object], peer: ScriptedPeer) -> None:
        try:
            result = script(peer)
            if inspect.iscoroutine(result):
                result.close()
                raise TypeError("a script must be a plain function of the peer; this one gave a coroutine")  # noqa: TRY301
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:  # noqa: BLE001 - pytest.fail() raises no Exception
            self._failures.append(error)
            peer.fail(f"the peer's script raised {type(error).__name__}: {error}")

    async def aclose(self) -> None:
        """Raises the exceptions of scripts.

        Raises:
            BaseExceptionGroup: If any has failed.
        """
        failures, self._failures = self._failures, []
        if failures:
            raise BaseExceptionGroup("ScriptedTransport: playing a peer failed", failures)


class ScriptedLink:
    """The client's side of an attempt. It passes everything to the peer."""

    def __init__(self, peer: ScriptedPeer) -> None:
        self._peer = peer
        self.send = peer.take
        self.close = peer.take_close
        self.close_now = peer.take_close_now
        self.pause_reading = peer.hold
        self.resume_reading = peer.let_go
        self.abort = peer.abort

    @property
    def traffic(self) -> Traffic:
        """What it has carried so far."""
        return self._peer.traffic

    def catch_up(self, judge: Callable[[], object]) -> None:
        """Judges at once, because the client sees what the peer does as it does it."""
        judge()


def check_script(script: object) -> None:
    """Refuses what cannot play a peer.

    Raises:
        TypeError: If it is no plain function.
    """
    if isinstance(script, str):
        raise TypeError(f"a script must be a function of the peer: peer_script({script!r}) makes one of a diagram")
    if not callable(script):
        raise TypeError(f"a script must be a function of the peer, not {type(script).__name__}")
    if inspect.iscoroutinefunction(script):
        raise TypeError("a script must be a plain function of the peer: a coroutine function is not awaited here")
