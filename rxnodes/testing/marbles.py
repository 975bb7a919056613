"""Marble diagrams: what a peer does, and what a connection tells, each in one line of text.

One character is one tick. In time with one another, the peer above and what its connection tells below::

    peer_script:  --o--m-m--X-|
    record:       c-o--m-m--X-s

The notation is that of Rx:

=============  =========================================================================================================
`-`            Nothing, for a tick.
a letter       Something, in the tick in which it stands.
`(ed)`         Several things in one tick, in this order. Commas within are ignored.
` 20s `        So long nothing, between spaces: `20s`, `1.5s`, `300ms`, `2m`. It must be a whole number of ticks.
space          Ignored, so that diagrams can be aligned.
=============  =========================================================================================================

In two things it differs from reactivex. A group takes one tick, not one for each of its characters: what comes a tick
later could not be written otherwise. And each letter stands for itself, as in RxJS, where reactivex takes `ab` for one
value.

The peer's letters are those of `peer_script`, the connection's those of `Recording`.
"""

from __future__ import annotations

import asyncio
import itertools
import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast
from urllib.parse import urlsplit

from pydantic import ValidationError

from rxnodes.testing.scripted import check_payload, check_peers_close, check_script
from rxnodes.websocket.settings import ConnectionSettings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from rxnodes.testing.scripted import ScriptedPeer
    from rxnodes.transport.base import Target

__all__ = ["TICK", "Mark", "align", "attempts", "by_url", "draw", "parse", "peer_script"]

#: How long a tick is, in seconds, unless something else is said; as in `reactivex.from_marbles`.
TICK = 0.1

#: So many ticks of silence are drawn as a time.
LONG_SILENCE = 20

#: More make no difference to a number of seconds above 1e-300.
DECIMALS = 330

TIME = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m)")
WAIT = re.compile(rf"(?<!\S){TIME.pattern}(?!\S)")
SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0}

PeerScript = Callable[["ScriptedPeer"], object]
Cells = dict[int, str]

# The notation


@dataclass(frozen=True, slots=True)
class Mark:
    """A letter of a diagram.

    Attributes:
        tick: When, in ticks from the diagram's beginning.
        letter: What.
        column: Where it stands in the diagram, from 1.
    """

    tick: int
    letter: str
    column: int


def parse(diagram: str, *, letters: Iterable[str], tick: float = TICK) -> list[Mark]:
    """Reads a diagram.

    Args:
        diagram: The diagram.
        letters: Those that have a meaning.
        tick: How long a tick is, in seconds.

    Returns:
        Its letters, in order.

    Raises:
        ValueError: If the diagram cannot be read, with the place.

    Example:
        >>> [(mark.tick, mark.letter) for mark in parse("-a(bc) 1s d", letters="abcd")]
        [(1, 'a'), (2, 'b'), (2, 'c'), (13, 'd')]
    """
    if not tick > 0:
        raise ValueError(f"a tick must take more than 0 seconds, not {tick!r}")
    return list(_Reader(diagram, frozenset(letters), tick).marks())


class _Reader:
    """Goes through a diagram from left to right."""

    def __init__(self, diagram: str, letters: frozenset[str], tick: float) -> None:
        self._diagram = diagram
        self._letters = letters
        self._tick_seconds = tick
        self._place = 0
        self._tick = 0

    def marks(self) -> Iterator[Mark]:
        while self._place < len(self._diagram):
            character = self._diagram[self._place]
            if wait := WAIT.match(self._diagram, self._place):
                self._tick += self._ticks(wait)
                self._place = wait.end()
            elif character == " ":
                self._place += 1
            elif character == "(":
                yield from self._group()
            else:
                if character != "-":
                    yield self._mark()
                self._place += 1
                self._tick += 1

    def _group(self) -> Iterator[Mark]:
        end = self._diagram.find(")", self._place)
        if end < 0:
            raise self._problem("the group is not closed")
        self._place += 1
        while self._place < end:
            if self._diagram[self._place] not in " ,":
                yield self._mark()
            self._place += 1
        self._place += 1
        self._tick += 1

    def _mark(self) -> Mark:
        letter = self._diagram[self._place]
        if letter not in self._letters:
            hint = "; a time stands between spaces" if TIME.match(self._diagram, self._place) else ""
            raise self._problem(f"it has no meaning here; use one of {' '.join(sorted(self._letters))}{hint}")
        return Mark(self._tick, letter, self._place + 1)

    def _ticks(self, wait: re.Match[str]) -> int:
        ticks = _whole_ticks(float(wait[1]) * SECONDS[wait[2]], self._tick_seconds)
        if ticks is None:
            raise self._problem(f"{wait[0]} is no whole number of ticks of {self._tick_seconds:g} s")
        return ticks

    def _problem(self, problem: str) -> ValueError:
        return _problem(self._diagram, self._place + 1, problem)


def _whole_ticks(seconds: float, tick: float) -> int | None:
    """How many ticks that is, if they are whole ones; within what is left by binary, and cut off, fractions."""
    ticks = seconds / tick
    return round(ticks) if abs(ticks - round(ticks)) <= 1e-6 + 1e-14 * ticks else None


def _problem(diagram: str, column: int, problem: str) -> ValueError:
    return ValueError(f"{diagram!r}, column {column}, {diagram[column - 1]!r}: {problem}")


def cells_of(marks: Iterable[Mark]) -> Cells:
    """The letters of each tick that has any."""
    cells: defaultdict[int, str] = defaultdict(str)
    for mark in marks:
        cells[mark.tick] += mark.letter
    return dict(cells)


def draw(cells: Cells, *, tick: float = TICK) -> str:
    """A diagram with these letters. 20 ticks of silence and more are drawn as a time.

    Example:
        >>> draw({0: "c", 2: "o", 5: "ed", 50: "s"})
        'c-o--(ed) 4.4s s'
    """
    return "".join(column[0] for column in _columns([cells], tick)).strip()


def align(rows: Sequence[Cells], *, tick: float = TICK) -> list[str]:
    """Diagrams that stand in time one below the other, and below them a line that points to where they differ."""
    columns = list(_columns(rows, tick))
    lines = ["".join(column[row] for column in columns).rstrip() for row in range(len(rows))]
    pointers = ("^" if len({cell.strip() for cell in column}) > 1 else " " for column in columns)
    widths = (len(column[0]) for column in columns)
    return [*lines, "".join(pointer.ljust(width) for pointer, width in zip(pointers, widths, strict=True)).rstrip()]


def _columns(rows: Sequence[Cells], tick: float) -> Iterator[list[str]]:
    """What stands at each tick, one text for each row, all of the same width; long silences of all in one column."""
    told = sorted({tick for row in rows for tick in row})
    for before, this in zip([-1, *told], told, strict=False):
        silence = this - before - 1
        if silence >= LONG_SILENCE:
            yield [f" {_seconds(silence, tick)}s "] * len(rows)
        else:
            yield from [["-"] * len(rows)] * silence
        texts = [_cell(row.get(this, "-")) for row in rows]
        width = max(map(len, texts))
        yield [text.ljust(width) for text in texts]


def _cell(letters: str) -> str:
    return letters if len(letters) == 1 else f"({letters})"


def _seconds(ticks: int, tick: float) -> str:
    """So many ticks as seconds, with as many decimals as it takes to read them again."""
    texts = (f"{ticks * tick:.{decimals}f}" for decimals in range(DECIMALS))
    return next(text for text in texts if _whole_ticks(float(text), tick) == ticks)


# Playing a peer

#: What may come next, and what a peer is then.
PROGRESS = {
    "dialled": {"o": "open", "r": "over", "#": "over", "|": "over"},
    "open": {"X": "closed", "v": "closed", "p": "open", "#": "over", "|": "over"},
    "closed": {"#": "over", "|": "over"},
    "over": dict[str, str](),
}
REASONS = {
    "dialled": "the peer has not accepted yet ('o')",
    "open": "the peer has accepted already",
    "closed": "the peer has closed already; only the end of TCP can follow ('|' or '#')",
    "over": "the link is over already",
}
OWN_LETTERS = frozenset("omXvpr#|")
NOTATION = frozenset("-(), ")


def peer_script(  # noqa: PLR0913 - each is one thing that a diagram cannot say
    diagram: str,
    *,
    messages: Sequence[str | bytes] | None = None,
    values: Mapping[str, str | bytes] | None = None,
    close: tuple[int, str] = (1000, ""),
    answers_close: bool = True,
    tick: float = TICK,
) -> PeerScript:
    """What a peer does, as a marble diagram that begins at the dial; for `ScriptedTransport`.

    =======  ==================================================================================
    `o`      It accepts the handshake.
    `m`      It sends the next one of `messages`.
    `X`      It sends a Close frame.
    `|`      It ends TCP (FIN).
    `#`      TCP breaks (RST).
    `r`      It refuses the dial.
    `v`      It breaks the protocol.
    `p`      It answers a ping that took one tick to come back: `latency` emits a tick's seconds.
    other    It sends what `values` says.
    =======  ==================================================================================

    No ping has to come before a `p`: a scripted peer gets none, whatever `heartbeat` says.

    Beyond its diagram a peer behaves well: it answers a Close frame with the same code, and ends TCP when both were
    exchanged; where `|` or `#` stands behind `X`, it does that then and not before.

    Args:
        diagram: The diagram.
        messages: What each `m` sends, in order; `None`: the numbers "1", "2", "3" and so on.
        values: What other letters send.
        close: Code and reason of the Close frame (1005: an empty one).
        answers_close: Whether the client's Close frame is answered at once. Where it is not, an `X` is the answer.
        tick: How long a tick is, in seconds.

    Returns:
        A function of the peer, to be given to a `ScriptedTransport`, to `attempts` or to `by_url`.

    Raises:
        ValueError: If the diagram cannot be read, or nobody could do what it says. It names the place.
        TypeError: If what is to be sent is neither `str` nor `bytes`.

    Example:
        >>> from rxnodes import Project
        >>> async def main() -> None:
        ...     transport = ScriptedTransport(peer_script("--o--m-m--X-|", messages=["a", "b"], close=(1001, "bye")))
        ...     async with Project(websocket={"chat": "ws://chat.test/"}, transport=transport) as project:
        ...         recording = record(project.websocket("chat"))
        ...         project.websocket("chat").start()
        ...         await project.websocket("chat").wait_stopped()
        ...     print(recording.marbles(), recording.messages, recording.stopped[0].reason)
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
    """Gives the first dial the first script, and so on; the last one serves all that follow.

    Args:
        *scripts: Diagrams as `peer_script` reads them, each beginning at its dial, or functions of the peer.
        messages: What each `m` sends, in order, from the first diagram to the last.
        values: What other letters send.
        close: Code and reason of each Close frame.
        answers_close: Whether the client's Close frames are answered at once.
        tick: How long a tick is, in seconds.

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
        ...     print(recording.marbles())
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
        scripts: By URL: a diagram as `peer_script` reads it, or a function of the peer, as `attempts` gives one. A URL
            with a query is for dials with just that one; one without for all others, whatever their query.

    Raises:
        ValueError: As `peer_script`; and if a URL cannot be connected to, or two are the same.
        TypeError: As `attempts`.

    Returns:
        A function of the peer, as that of `peer_script`.

    Raises:
        ValueError: As `peer_script`, where a script is a diagram.

    Example:
        >>> scripts = {"ws://chat.test/": "-o-m-X", "ws://feed.test/": attempts("-r", "-o")}
        >>> transport = ScriptedTransport(by_url(scripts))
    """
    # What is given is not always what its type says.
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
    """What the settings make of a URL, which may be spelt in several ways."""
    try:
        return ConnectionSettings.model_validate({"url": url}).target()
    except ValidationError as error:
        problem = error.errors(include_input=False)[0]["msg"].removeprefix("Value error, ")
    raise ValueError(f"by_url(): a URL {problem}")


def _address(url: str) -> str:
    """A URL of the settings' as it tells connections apart: without user and password, and a port that goes unsaid."""
    parts = urlsplit(url)
    port = ":443" if parts.scheme == "wss" else ":80"
    return parts._replace(netloc=parts.netloc.rpartition("@")[2].removesuffix(port)).geturl()


def _checked(script: PeerScript) -> PeerScript:
    check_script(script)
    return script


class _Payloads:
    """What the letters of one or more diagrams send."""

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
        """What the letter sends; `None` where no message is left."""
        return next(self._next, None) if letter == "m" else self._values[letter]

    def check_used_up(self) -> None:
        left = list(self._next) if self._has_given else []
        if left:
            raise ValueError(f"messages: no 'm' is left to send the last {len(left)}")


def _script(
    diagram: str, payloads: _Payloads, close: tuple[int, str], *, answers_close: bool, tick: float
) -> PeerScript:
    _check_close(close)
    acts: defaultdict[int, list[PeerScript]] = defaultdict(list)
    stage = "dialled"
    ends_tcp = True
    for mark in parse(diagram, letters=payloads.letters, tick=tick):
        sends = mark.letter not in OWN_LETTERS or mark.letter == "m"
        ends_tcp = ends_tcp and not (stage == "closed" and mark.letter in "|#")
        if sends and stage == "open":
            payload = payloads.take(mark.letter)
            if payload is None:
                raise _problem(diagram, mark.column, "no message is left for it")
            acts[mark.tick].append(_send(payload))
        elif mark.letter in PROGRESS[stage]:
            stage = PROGRESS[stage][mark.letter]
            acts[mark.tick].append(_act(mark.letter, close, tick))
        else:
            raise _problem(diagram, mark.column, REASONS[stage])

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
    """Does what a diagram says, each tick in one turn of the loop. What comes behind the link's end, a peer ignores."""

    def __init__(self, peer: ScriptedPeer, acts: Mapping[int, Sequence[PeerScript]], tick: float) -> None:
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
            self._do(acts)
        else:
            self._loop.call_at(self._began_at + tick * self._tick, self._do, acts)

    def _do(self, acts: Sequence[PeerScript]) -> None:
        for act in acts:
            act(self._peer)
        self.play()
