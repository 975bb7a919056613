"""Scripts of peers: made from marble diagrams, one for each attempt, and chosen by the URL of a dial."""

from __future__ import annotations

import asyncio
import itertools
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

from pydantic import ValidationError

from rxnodes.recording.marbles import TICK, parse, problem_at
from rxnodes.settings.problems import explained
from rxnodes.transport.scripted import check_script
from rxnodes.transport.scripted_peer import check_payload, check_peers_close
from rxnodes.websocket.settings import ConnectionSettings

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rxnodes.transport.base import Target
    from rxnodes.transport.scripted_peer import ScriptedPeer

__all__ = ["attempts", "by_url", "peer_script"]

PeerScript = Callable[["ScriptedPeer"], object]

#: The stages of a peer: for each, the letters that may come next, and the stage that they lead to.
PROGRESS = {
    "dialled": {"o": "open", "r": "over", "#": "over", "|": "over"},
    "open": {"X": "closed", "v": "closed", "p": "open", "?": "open", "#": "over", "|": "over"},
    "closed": {"#": "over", "|": "over"},
    "over": dict[str, str](),
}
REASONS = {
    "dialled": "the peer has not accepted yet ('o')",
    "open": "the peer has accepted already",
    "closed": "the peer has closed already; only the end of TCP can follow ('|' or '#')",
    "over": "the link is over already",
}
OWN_LETTERS = frozenset("omXvpr#|?")
WAIT = "?"
NOTATION = frozenset("-(), ")


def peer_script(  # noqa: PLR0913 - each is one thing that no diagram can say
    diagram: str,
    *,
    messages: Sequence[str | bytes] | None = None,
    values: Mapping[str, str | bytes] | None = None,
    close: tuple[int, str] = (1000, ""),
    answers_close: bool = True,
    tick: float = TICK,
) -> PeerScript:
    """Makes a script for `ScriptedTransport` from a marble diagram, which begins at the dial.

    =======  ==================================================================================
    `o`      It accepts the handshake.
    `m`      It sends the next one of `messages`.
    `X`      It sends a Close frame.
    `|`      It ends TCP (FIN).
    `#`      TCP breaks (RST).
    `r`      It refuses the dial.
    `v`      It breaks the protocol.
    `p`      It answers a ping that took one tick to come back: `latency` emits a tick's seconds.
    `?`      It waits for the client's next message, unless that has come already, and goes on from there.
    other    It sends what `values` says.
    =======  ==================================================================================

    No ping has to come before a `p`: a scripted peer gets none, whatever `heartbeat` says. `?` is for a login by
    `after_connect`: in `"-(o?)a-m"` the peer accepts, waits for the token, and a tick later sends what `values` has for
    `a`. No event tells of a login: in a `Recording` it is the silence between `c` and `o`.

    Beyond its diagram a peer behaves well: it answers a Close frame with the same code, and ends TCP when both were
    exchanged; if `|` or `#` follows `X`, it ends TCP at that tick.

    Args:
        diagram: The diagram.
        messages: The message for each `m`, in order; by default "1", "2", "3" and so on.
        values: The messages for other letters.
        close: Code and reason of the Close frame (1005: an empty one).
        answers_close: Whether the peer answers the client's Close frame at once. If not, an `X` is the answer.
        tick: The length of a tick, in seconds.

    Returns:
        A function of the peer, to be given to a `ScriptedTransport`, to `attempts` or to `by_url`.

    Raises:
        ValueError: If the diagram cannot be read, or no peer could follow it. It names the place.
        TypeError: If a message is neither `str` nor `bytes`.

    Example:
        >>> from rxnodes import Project
        >>> async def main() -> None:
        ...     transport = ScriptedTransport(peer_script("--o--m-m--X-|", messages=["a", "b"], close=(1001, "bye")))
        ...     async with Project(websocket={"chat": "ws://chat.test/"}, transport=transport) as project:
        ...         recording = record(project.websocket("chat"))
        ...         project.websocket("chat").start()
        ...         await project.websocket("chat").wait_stopped()
        ...     print(recording.to_marbles(), recording.messages, recording.stopped[0].reason)
        >>> run_in_virtual_time(main())
        c-o--m-m--X-s ['a', 'b'] bye
    """
    payloads = _Payloads(messages, values)
    script = _script(diagram, payloads, close, answers_close=answers_close, tick=tick)
    payloads.check_used_up()
    return script


def attempts(
    *scripts: str | PeerScript,
    messages: Sequence[str | bytes] | None = None,
    values: Mapping[str, str | bytes] | None = None,
    close: tuple[int, str] = (1000, ""),
    answers_close: bool = True,
    tick: float = TICK,
) -> PeerScript:
    """Gives each dial its script, in order; the last script also serves all later dials.

    Args:
        *scripts: Diagrams as in `peer_script`, each of which begins at its dial, or functions of the peer.
        messages: The message for each `m`, in order, from the first diagram to the last.
        values: The messages for other letters.
        close: Code and reason of each Close frame.
        answers_close: Whether the peer answers the client's Close frames at once.
        tick: The length of a tick, in seconds.

    Returns:
        A function of the peer, as that of `peer_script`.

    Raises:
        ValueError: As `peer_script`; and if there is no script.
        TypeError: As `peer_script`; and if a script is neither a diagram nor a plain function.

    Example:
        >>> from rxnodes import Project
        >>> async def main() -> None:
        ...     chat = {"url": "ws://chat.test/", "reconnect": {"enabled": True, "initial_delay": 0.5, "jitter": False}}
        ...     transport = ScriptedTransport(attempts("-o-#", "-o-X"))
        ...     async with Project(websocket={"chat": chat}, transport=transport) as project:
        ...         recording = record(project.websocket("chat"))
        ...         project.websocket("chat").start()
        ...         await project.websocket("chat").wait_stopped()
        ...     print(recording.to_marbles())
        >>> run_in_virtual_time(main())
        co-(ed)----co-(Xs)
    """
    if not scripts:
        raise ValueError("attempts() needs a script for the first dial")
    payloads = _Payloads(messages, values)
    ready = [
        _script(script, payloads, close, answers_close=answers_close, tick=tick)
        if isinstance(script, str)
        else _checked(script)
        for script in scripts
    ]
    payloads.check_used_up()
    following = itertools.chain(ready, itertools.repeat(ready[-1]))

    def script(peer: ScriptedPeer) -> None:
        next(following)(peer)

    return script


def by_url(scripts: Mapping[str, str | PeerScript]) -> PeerScript:
    """Gives each dial the script of its URL, for a project with several connections.

    A dial to any other URL is refused, and not retried.

    Args:
        scripts: For each URL, a diagram as in `peer_script`, or a function of the peer, such as one of `attempts`. A
            URL with a query is for dials with that query, one without is for all others.

    Raises:
        ValueError: As `peer_script`; and if a URL cannot be connected to, or two are the same.
        TypeError: As `attempts`.

    Returns:
        A function of the peer, as that of `peer_script`.

    Example:
        >>> scripts = {"ws://chat.test/": "-o-m-X", "ws://feed.test/": attempts("-r", "-o")}
        >>> transport = ScriptedTransport(by_url(scripts))
    """
    # Callers without a type checker pass other types too.
    if not isinstance(scripts, Mapping):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"by_url() takes a dict of scripts by URL, not {type(scripts).__name__}")
    ready: dict[str, PeerScript] = {}
    known: list[str] = []
    for url, given in scripts.items():
        target = _target(url)
        address = _address(target.url)
        if address in ready:
            raise ValueError(f"by_url() has two scripts for {target.redacted_url}")
        ready[address] = peer_script(given) if isinstance(given, str) else _checked(given)
        known.append(target.redacted_url)

    def script(peer: ScriptedPeer) -> None:
        address = _address(peer.target.url)
        found = ready.get(address) or ready.get(address.partition("?")[0])
        if found is not None:
            found(peer)
        else:
            refused = f"by_url() has no script for {peer.target.redacted_url} (known: {', '.join(known)})"
            peer.refuse(refused, retryable=False)

    return script


def _target(url: str) -> Target:
    """The target of a URL, by the settings, since one URL may be spelt in several ways."""
    try:
        return ConnectionSettings.model_validate({"url": url}).target()
    except ValidationError as error:
        problem = explained(error.errors(include_input=False)[0])
    raise ValueError(f"by_url(): a URL {problem}")


def _address(url: str) -> str:
    """A target's URL, in a form that can be compared: without user and password, and without the usual port."""
    parts = urlsplit(url)
    port = ":443" if parts.scheme == "wss" else ":80"
    return parts._replace(netloc=parts.netloc.rpartition("@")[2].removesuffix(port)).geturl()


def _checked(script: PeerScript) -> PeerScript:
    check_script(script)
    return script


class _Payloads:
    """The messages for the letters of one or more diagrams."""

    def __init__(self, messages: Sequence[str | bytes] | None, values: Mapping[str, str | bytes] | None) -> None:
        if isinstance(messages, str | bytes):
            raise TypeError(f"messages must be a list of messages, not {type(messages).__name__}")
        for number, message in enumerate(messages or (), 1):
            check_payload(f"messages: number {number}", message)
        for letter, value in (values or {}).items():
            check_payload(f"values: {letter!r}", value)
        self._values = values or {}
        self._has_given = messages is not None
        self._next: Iterator[str | bytes] = map(str, itertools.count(1)) if messages is None else iter(messages)
        for letter in self._values:
            if len(letter) != 1 or letter in OWN_LETTERS | NOTATION:
                raise ValueError(f"values: {letter!r} cannot be given a value; use one character without a meaning")

    @property
    def letters(self) -> frozenset[str]:
        return OWN_LETTERS | self._values.keys()

    def take(self, letter: str) -> str | bytes | None:
        """The message for a letter; `None` if no message is left."""
        return next(self._next, None) if letter == "m" else self._values[letter]

    def check_used_up(self) -> None:
        left = list(self._next) if self._has_given else []
        if left:
            raise ValueError(f"messages: no 'm' is left to send the last {len(left)}")


def _script(
    diagram: str, payloads: _Payloads, close: tuple[int, str], *, answers_close: bool, tick: float
) -> PeerScript:
    _check_close(close)
    acts: defaultdict[int, list[PeerScript | None]] = defaultdict(list)
    stage = "dialled"
    ends_tcp = True
    for mark in parse(diagram, letters=payloads.letters, tick=tick):
        sends = mark.letter not in OWN_LETTERS or mark.letter == "m"
        ends_tcp = ends_tcp and not (stage == "closed" and mark.letter in "|#")
        if sends and stage == "open":
            payload = payloads.take(mark.letter)
            if payload is None:
                raise problem_at(diagram, mark.column, "no message is left for it")
            acts[mark.tick].append(_send(payload))
        elif mark.letter in PROGRESS[stage]:
            stage = PROGRESS[stage][mark.letter]
            acts[mark.tick].append(None if mark.letter == WAIT else _act(mark.letter, close, tick))
        else:
            raise problem_at(diagram, mark.column, REASONS[stage])

    def script(peer: ScriptedPeer) -> None:
        peer.answers_close = answers_close
        peer.ends_tcp = ends_tcp
        _Player(peer, acts, tick).play()

    return script


def _check_close(close: object) -> None:
    if not isinstance(close, tuple) or [type(it) for it in cast("tuple[object, ...]", close)] != [int, str]:
        raise TypeError(f'close must be a code and a reason, such as (1001, "bye"), not {close!r}')
    check_peers_close(*cast("tuple[int, str]", close))


def _send(payload: str | bytes) -> PeerScript:
    return lambda peer: peer.send(payload)


def _act(letter: str, close: tuple[int, str], tick: float) -> PeerScript:
    acts: dict[str, PeerScript] = {
        "o": lambda peer: peer.accept(),
        "X": lambda peer: peer.close(*close),
        "|": lambda peer: peer.end(),
        "#": lambda peer: peer.reset(),
        "r": lambda peer: peer.refuse(),
        "v": lambda peer: peer.violate(),
        "p": lambda peer: peer.pong(tick),
    }
    return acts[letter]


class _Player:
    """Follows a diagram, each tick in one turn of the loop. After the end of the link, a peer ignores the rest."""

    def __init__(self, peer: ScriptedPeer, acts: Mapping[int, Sequence[PeerScript | None]], tick: float) -> None:
        self._peer = peer
        self._turns = iter(sorted(acts.items()))
        self._tick = tick
        self._loop = asyncio.get_running_loop()
        self._began_at = self._loop.time()

    def play(self) -> None:
        turn = next(self._turns, None)
        if turn is None:
            return
        tick, acts = turn
        if tick == 0:
            self._do(tick, iter(acts))
        else:
            self._loop.call_at(self._began_at + tick * self._tick, self._do, tick, iter(acts))

    def _do(self, tick: int, acts: Iterator[PeerScript | None]) -> None:
        for act in acts:
            if act is None:
                self._peer.expect(lambda _: self._go_on(tick, acts))
                return
            act(self._peer)
        self.play()

    def _go_on(self, tick: int, acts: Iterator[PeerScript | None]) -> None:
        """Goes on when the awaited message has come. The rest of the diagram is late by the time that it took."""
        self._began_at = self._loop.time() - tick * self._tick
        self._do(tick, acts)
