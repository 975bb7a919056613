"""A network that fails on request: a TCP proxy whose faults can be switched while it runs.

Example:
    >>> async with WebSocketServer(echo) as server, ChaosProxy(server.url) as proxy:
    ...     ...  # connect to proxy.url
    ...     proxy.to_client.latency = 0.2
    ...     proxy.to_server.black_hole = True
    ...     proxy.reset_all()
"""

from __future__ import annotations

import asyncio
import math
import socket
from collections import deque
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from rxnodes.testing.server import Tcp, TcpServer

if TYPE_CHECKING:
    from collections.abc import Callable

    from rxnodes.testing.server import Ending

__all__ = ["ChaosProxy", "Faults"]

_HELD_AT_MOST: Final = 256 * 1024
_PIECES_PER_SECOND: Final = 50
_DEFAULT_PORTS: Final = {"ws": 80, "wss": 443}
_SWITCHES: Final = ("latency", "bandwidth", "slice_size", "black_hole", "half_close", "reset_after")


class Faults:
    """The faults of one direction, on all connections. A switch takes effect at once, also on data that is under way.

    Attributes:
        latency: The delay of all data and of FIN and RST, in seconds.
        bandwidth: The most bytes per second on each connection. 0 holds everything back; `None` is no limit.
        slice_size: The most bytes in one segment, from 1; `None` is no limit.
        black_hole: Whether data vanishes, as if a cable was out. The proxy holds back an end (FIN or RST) until this is
            off.
        half_close: Whether the proxy ends this direction: it sends FIN, and drops what still comes this way. Switching
            it off does not revive a connection.
        reset_after: After how many bytes the proxy resets a connection on both sides, counted from its beginning. 0
            resets it at once; `None` never does.
        bytes_passed: How many bytes the proxy has passed on. This is a count and not a switch.

    Example:
        >>> async with ChaosProxy(server.url) as proxy, websockets.connect(proxy.url) as ws:
        ...     proxy.to_client.latency = 0.01
        ...     await ws.send("hello")
        ...     print(await ws.recv())
        ...     proxy.to_client.clear()
        hello
    """

    # So that a mistyped switch raises.
    __slots__ = ("_watchers", "bytes_passed", *_SWITCHES)

    def __init__(self) -> None:
        self._watchers: set[Callable[[], None]] = set()
        self.bytes_passed = 0
        self.clear()

    def clear(self) -> None:
        """Switches every fault off."""
        self.latency: float = 0.0
        self.bandwidth: float | None = None
        self.slice_size: int | None = None
        self.black_hole: bool = False
        self.half_close: bool = False
        self.reset_after: int | None = None

    def watch(self, switched: Callable[[], None]) -> None:
        """Calls `switched` after each change, until `unwatch`.

        Args:
            switched: A function without arguments. It sees the switches as they are after the change.
        """
        self._watchers.add(switched)

    def unwatch(self, switched: Callable[[], None]) -> None:
        """Calls `switched` no longer.

        Args:
            switched: A function that was given to `watch`. Any other is ignored.
        """
        self._watchers.discard(switched)

    def __setattr__(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)
        if name in _SWITCHES:
            for switched in tuple(self._watchers):
                switched()


class ChaosProxy(TcpServer):
    """A TCP proxy in front of a server on this machine, with faults in either direction.

    Without a fault it passes on bytes, FIN and RST as they come, in each direction by itself. TLS passes through
    untouched. If the server refuses a connection, the proxy resets the client's. Leaving the proxy closes every
    connection.

    Args:
        upstream: The server's URL, or its port on 127.0.0.1.
        host: The IPv4 address, or its name, to listen on. If a certificate is for `localhost`, give that.
        port: The port to listen on; 0 is any free one.
        receive_buffer: The size of the kernel's receive buffer for the client's data, in bytes; `None` is the system's
            default. With a small one, the client's writes block soon if nobody reads. The system may round it, and
            Linux doubles it.

    Attributes:
        to_server: The faults, and the count of bytes, on the way to the server.
        to_client: The same on the way to the client.

    Example:
        >>> async with ChaosProxy(server.url) as proxy, websockets.connect(proxy.url) as ws:
        ...     proxy.to_client.slice_size = 1
        ...     proxy.to_server.black_hole = True
    """

    def __init__(
        self, upstream: int | str, *, host: str = "127.0.0.1", port: int = 0, receive_buffer: int | None = None
    ) -> None:
        super().__init__(self._carry, host=host, port=port, receive_buffer=receive_buffer)
        self.to_server = Faults()
        self.to_client = Faults()
        self._upstream = urlsplit(f"ws://127.0.0.1:{upstream}/" if isinstance(upstream, int) else upstream)
        self._live: set[_Connection] = set()

    @property
    def url(self) -> str:
        """The URL to connect to: the server's, with the host and port of the proxy."""
        return self._upstream._replace(netloc=f"{self.host}:{self.port}").geturl()

    def reset_all(self) -> None:
        """Resets every connection on both sides, at once."""
        for connection in tuple(self._live):
            connection.reset()

    async def _carry(self, client: Tcp, _number: int) -> None:
        try:
            server = await self._connect()
        except OSError:
            return client.reset()
        connection = _Connection(client, server, to_server=self.to_server, to_client=self.to_client)
        self._live.add(connection)
        try:
            await connection.run()
        finally:
            self._live.remove(connection)
            server.close()

    async def _connect(self) -> Tcp:
        host = self._upstream.hostname or "127.0.0.1"
        port = self._upstream.port or _DEFAULT_PORTS[self._upstream.scheme]
        sock = socket.socket()
        sock.setblocking(False)  # noqa: FBT003 - the standard library's
        try:
            await asyncio.get_running_loop().sock_connect(sock, (host, port))
        except BaseException:
            sock.close()
            raise
        return Tcp(sock)


class _Connection:
    """A client's TCP connection, and the one that the proxy has made to the server for it."""

    def __init__(self, client: Tcp, server: Tcp, *, to_server: Faults, to_client: Faults) -> None:
        self._ends = (client, server)
        self._flows = (_Flow(client, server, to_server, self), _Flow(server, client, to_client, self))
        self._over = asyncio.Event()

    async def run(self) -> None:
        """Passes data in both directions until both have ended or the connection is reset."""
        readers = [asyncio.create_task(flow.read()) for flow in self._flows]
        try:
            for flow in self._flows:
                flow.start()
            await self._over.wait()
        finally:
            self._stop()
            for reader in readers:
                reader.cancel()
            await asyncio.wait(readers)

    def reset(self) -> None:
        """Resets both ends at once."""
        self._stop()
        for end in self._ends:
            end.reset()

    def flow_finished(self) -> None:
        """Notes that FIN was passed on in one direction."""
        if all(flow.finished for flow in self._flows):
            self._stop()

    def lost(self, flow: _Flow) -> None:
        """Notes that the target of a flow is gone. The other flow passes that on as a reset."""
        for other in self._flows:
            if other is not flow:
                other.put("reset")

    def _stop(self) -> None:
        for flow in self._flows:
            flow.stop()
        self._over.set()


class _Flow:
    """One direction of one connection: a queue of the data that is under way.

    `step` does all that can be done now. It is called when data comes or is due, when the target takes data again, and
    when a fault is switched.

    Attributes:
        finished: Whether the target was sent FIN.
    """

    def __init__(self, source: Tcp, target: Tcp, faults: Faults, connection: _Connection) -> None:
        self.finished = False
        self._source = source
        self._target = target
        self._faults = faults
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._queue: deque[tuple[float, memoryview | Ending]] = deque()  # each with its time of arrival
        self._held = 0
        self._room = asyncio.Event()
        self._target_lost = False
        self._passed = 0
        self._sent_at = -math.inf
        self._sent_size = 0
        self._running = False
        self._next_step: asyncio.Handle | None = None

    async def read(self) -> None:
        """Queues what the source sends. While the queue is full, the rest waits at the source."""
        try:
            while data := await self._source.receive():
                self._held += len(data)
                self._room.clear()
                self.put(memoryview(data))
                if self._held > _HELD_AT_MOST:
                    await self._room.wait()
            self.put("fin")
        except ConnectionError:
            self.put("reset")

    def put(self, item: memoryview | Ending) -> None:
        """Queues bytes or an end."""
        self._queue.append((self._loop.time(), item))
        self.step()

    def start(self) -> None:
        """Begins to pass data on."""
        self._running = True
        self._faults.watch(self.step)
        self.step()

    def stop(self) -> None:
        """Passes on nothing more."""
        self._running = False
        self._faults.unwatch(self.step)
        self._forget_next_step()

    def step(self) -> None:
        """Does all that can be done now, and schedules the next step for when more is due."""
        self._forget_next_step()
        if self._running and self._faults.half_close:
            self._finish()
        self._reset_if_due()
        while self._running and self._queue:
            arrived, item = self._queue[0]
            wait = self._seconds_until_due(arrived, item)
            if wait > 0:
                self._step_in(wait)
                return
            if not (self._pass_end(item) if isinstance(item, str) else self._pass_on(item)):
                return

    def _seconds_until_due(self, arrived: float, item: memoryview | Ending) -> float:
        if not isinstance(item, str) and self._drops_data():
            return 0
        due = arrived + self._faults.latency
        bandwidth = self._faults.bandwidth
        if bandwidth is not None:
            due = max(due, self._sent_at + self._sent_size / bandwidth if bandwidth else math.inf)
        return due - self._loop.time()

    def _drops_data(self) -> bool:
        return self._faults.black_hole or self.finished or self._target_lost

    def _pass_end(self, end: Ending) -> bool:
        """Passes FIN or RST on, and returns whether the queue can go on."""
        if self._faults.black_hole:
            return False
        self._queue.popleft()
        if end == "reset":
            self._connection.reset()
        else:
            self._finish()
        return True

    def _finish(self) -> None:
        if not self.finished:
            self.finished = True
            self._target.finish_now()
            self._connection.flow_finished()

    def _pass_on(self, data: memoryview) -> bool:
        """Passes on a piece of the first data, or drops it, and returns whether the queue can go on at once."""
        if self._drops_data():
            self._take_off_queue(len(data))
            return True
        try:
            sent = self._target.send_now(data[: self._piece_size()])
        except ConnectionError:
            self._target_lost = True
            self._connection.lost(self)
            return True
        if not sent:
            self._target.when_writable(self.step)
            return False
        self._take_off_queue(sent)
        self._count(sent)
        self._reset_if_due()
        self._step_in(0)  # in the next turn, so that the reader gets the segments one by one
        return False

    def _piece_size(self) -> int:
        faults = self._faults
        limits = [_HELD_AT_MOST]
        if faults.slice_size is not None:
            limits.append(faults.slice_size)
        if faults.bandwidth is not None:
            limits.append(math.ceil(faults.bandwidth / _PIECES_PER_SECOND))
        if faults.reset_after is not None:
            limits.append(faults.reset_after - self._passed)
        return max(1, min(limits))

    def _take_off_queue(self, count: int) -> None:
        arrived, item = self._queue.popleft()
        if len(item) > count and not isinstance(item, str):
            self._queue.appendleft((arrived, item[count:]))
        self._held -= count
        if self._held <= _HELD_AT_MOST:
            self._room.set()

    def _count(self, sent: int) -> None:
        self._sent_at = self._loop.time()
        self._sent_size = sent
        self._passed += sent
        self._faults.bytes_passed += sent

    def _reset_if_due(self) -> None:
        limit = self._faults.reset_after
        if self._running and limit is not None and self._passed >= limit:
            self._connection.reset()

    def _step_in(self, seconds: float) -> None:
        if self._running and seconds < math.inf:
            self._next_step = self._loop.call_later(seconds, self.step)

    def _forget_next_step(self) -> None:
        if self._next_step is not None:
            self._next_step.cancel()
            self._next_step = None
