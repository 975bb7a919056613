"""The lanes of a picture, one for each connection, for every form of picture."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from rxnodes.durations import in_words
from rxnodes.errors import printable
from rxnodes.lifecycle.events import (
    STATE_AFTER,
    Closing,
    Connecting,
    Dropped,
    ErrorEvent,
    LifecycleEvent,
    Opened,
    Stopped,
)
from rxnodes.lifecycle.states import CloseCode, ConnectionState, Initiator
from rxnodes.recording.entries import LeftOut, Message, Messages, Pulse
from rxnodes.websocket.action_nodes import START, STOP

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rxnodes.recording.entries import Direction, Entry, Recorded
    from rxnodes.recording.lines import Head

__all__ = ["Band", "Label", "Lane", "Lanes", "Stretch", "Traffic", "described", "ending", "lanes_of"]

#: How many characters a name and another text may have in a picture.
LONGEST_NAME: Final = 40
LONGEST_TEXT: Final = 80

#: A start or a stop takes effect at once. An event within so many seconds after its pulse is drawn at the pulse.
AT_ONCE: Final = 0.005

_LIVE: Final = {ConnectionState.CONNECTING, ConnectionState.OPEN, ConnectionState.RECONNECTING}


@dataclass(slots=True)
class Band:
    """A state of a connection, from when to when. Times are seconds since the recording began.

    Attributes:
        state: The state.
        begin: When it began.
        end: When it ended.
        attempt: The attempt within the session.
        retry_in: Seconds until the next attempt, if the connection waits for that.
    """

    state: ConnectionState
    begin: float
    end: float
    attempt: int
    retry_in: float | None = None


@dataclass(frozen=True, slots=True)
class Traffic:
    """A message, or several that followed closely on each other."""

    begin: float
    end: float
    direction: Direction
    count: int
    size: int


@dataclass(frozen=True, slots=True)
class Label:
    """Something that happened, in a few words.

    Attributes:
        time: When it happened.
        text: The words.
        weight: If there is no room for all labels, those with the least weight are left out.
        is_bold: Whether it is a stop or its end, which the picture is about.
        is_pulse: Whether it is a pulse of an action node.
        series: The name of a series, such as the attempts, of which the last is enough.
    """

    time: float
    text: str
    weight: int = 1
    is_bold: bool = False
    is_pulse: bool = False
    series: str = ""


@dataclass(slots=True)
class Stretch:
    """From a stop to its On Stop, which is never the same moment.

    Attributes:
        begin: When the pulse of the stop came; if none was recorded, when the connection began to close.
        end: When On Stop fired; if the recording ended before, its end.
        is_pulse: Whether it begins with a pulse.
        is_over: Whether the recording has its On Stop.
        messages: How many messages came in between.
    """

    begin: float
    end: float
    is_pulse: bool
    is_over: bool = False
    messages: int = 0

    def lines(self) -> tuple[str, ...]:
        """How long it took, and how many messages came, in words."""
        what = "the pulse" if self.is_pulse else "the stop"
        took = in_words(self.end - self.begin)
        first = f"On Stop: {took} after {what}" if self.is_over else f"no On Stop yet, {took} after {what}"
        one = self.messages == 1
        came = f"{self.messages} message{'' if one else 's'} still came in between" if self.messages else ""
        return (first, came) if came else (first,)


@dataclass(slots=True)
class Lane:
    """One connection.

    Attributes:
        name: Its name, shortened and safe to show.
        bands: Its states.
        traffic: Its messages.
        nodes: The pulses of its action nodes, and each On Start and On Stop.
        ends: How attempts and sessions ended, and errors.
        stretches: From each stop to its On Stop.
        asked_at: When a pulse last asked it to start or to stop.
    """

    name: str
    bands: list[Band] = field(default_factory=list[Band])
    traffic: list[Traffic] = field(default_factory=list[Traffic])
    nodes: list[Label] = field(default_factory=list[Label])
    ends: list[Label] = field(default_factory=list[Label])
    stretches: list[Stretch] = field(default_factory=list[Stretch])
    asked_at: float = -math.inf

    @property
    def state(self) -> ConnectionState:
        """The last state."""
        return self.bands[-1].state


@dataclass(frozen=True, slots=True)
class Lanes:
    """All lanes.

    Attributes:
        lanes: One for each connection.
        duration: Seconds from the beginning of the recording to its last entry.
        left_out: How many entries the recording lost.
    """

    lanes: list[Lane]
    duration: float
    left_out: LeftOut


def lanes_of(head: Head, recorded: Iterable[Recorded[Entry]]) -> Lanes:
    """The lanes of a recording."""
    lanes: dict[str, Lane] = {}
    left_out = LeftOut()
    duration = 0.0

    def lane_of(name: str) -> Lane:
        if name not in lanes:
            state = head.states.get(name, ConnectionState.IDLE)
            lanes[name] = Lane(printable(name, LONGEST_NAME), [Band(state, 0.0, 0.0, 0)])
        return lanes[name]

    for name in head.states:
        lane_of(name)
    for it in recorded:
        entry = it.value
        if isinstance(entry, LeftOut):
            left_out = entry
            continue
        span = entry.span if isinstance(entry, Messages) else 0.0
        duration = max(duration, it.time + span)
        _add(lane_of(entry.connection), it.time, entry)
    for lane in lanes.values():
        _end(lane, duration)
    return Lanes(list(lanes.values()), duration, left_out)


def _add(lane: Lane, time: float, entry: LifecycleEvent | Message | Messages | Pulse) -> None:
    if isinstance(entry, Message | Messages):
        _add_messages(lane, time, entry)
    elif isinstance(entry, Pulse):
        _add_pulse(lane, time, entry)
    else:
        _add_event(lane, time, entry)


def _add_messages(lane: Lane, time: float, entry: Message | Messages) -> None:
    count, span = (entry.count, entry.span) if isinstance(entry, Messages) else (1, 0.0)
    lane.traffic.append(Traffic(time, time + span, entry.direction, count, entry.size))
    if entry.direction == "in" and lane.stretches and not lane.stretches[-1].is_over:
        lane.stretches[-1].messages += count


def _add_pulse(lane: Lane, time: float, pulse: Pulse) -> None:
    times = f" ×{pulse.count}" if pulse.count > 1 else ""  # noqa: RUF001 - the sign is meant
    is_stop = pulse.node == STOP
    weight = 5 if is_stop else 3 if pulse.node == START else 1
    name = printable(pulse.node.removeprefix("WebSocket "), LONGEST_NAME)
    lane.nodes.append(Label(time, f"{name}{times}", weight, is_bold=is_stop, is_pulse=True))
    if pulse.node in {START, STOP}:
        lane.asked_at = time
    if is_stop and lane.state in _LIVE:
        _begin_stretch(lane, Stretch(time, time, is_pulse=True))


def _begin_stretch(lane: Lane, stretch: Stretch) -> None:
    if not lane.stretches or lane.stretches[-1].is_over:
        lane.stretches.append(stretch)


def _add_event(lane: Lane, time: float, event: LifecycleEvent) -> None:
    state = STATE_AFTER.get(type(event))
    if state is not None:
        begin = lane.asked_at if isinstance(event, Connecting | Closing) and time - lane.asked_at < AT_ONCE else time
        lane.bands[-1].end = begin
        lane.bands.append(Band(state, begin, time, event.attempt))
    match event:
        case Connecting() if event.attempt > 1:
            lane.ends.append(Label(time, f"attempt {event.attempt}", series="attempt"))
        case Opened():
            lane.nodes.append(Label(time, "On Start", 2))
        case Dropped():
            lane.bands[-1].retry_in = event.retry_in
            lane.ends.append(Label(time, ending(event), 3))
        case Closing(initiator=Initiator.LOCAL):
            _begin_stretch(lane, Stretch(time, time, is_pulse=False))
        case Stopped():
            lane.nodes.append(Label(time, "On Stop", 5, is_bold=True))
            lane.ends.append(Label(time, ending(event), 4))
            _end_stretch(lane, time)
        case ErrorEvent():
            lane.ends.append(Label(time, f"error: {_shown(event.message)}", 2))
        case _:
            pass


def _end_stretch(lane: Lane, time: float) -> None:
    if lane.stretches and not lane.stretches[-1].is_over:
        lane.stretches[-1].end = time
        lane.stretches[-1].is_over = True


def _end(lane: Lane, duration: float) -> None:
    lane.bands[-1].end = duration
    if lane.stretches and not lane.stretches[-1].is_over:
        lane.stretches[-1].end = duration


# --- Words ------------------------------------------------------------------------------------------------------------


def _shown(text: str) -> str:
    return printable(text, LONGEST_TEXT)


def ending(event: Dropped | Stopped) -> str:
    """How an attempt or a session ended: the code and reason of the peer, or that no Close frame came."""
    if event.code == CloseCode.ABNORMAL_CLOSURE:
        return "1006, no Close frame"
    reason = f" “{_shown(event.reason)}”" if event.reason else ""
    return f"Close {event.code}{reason}{'' if event.was_clean else ', not clean'}"


def described(lanes: Lanes) -> str:
    """The picture in words, for those who do not see it."""
    return " ".join(_lane_described(lane) for lane in lanes.lanes) or "Nothing was recorded."


#: How many states, ends and stretches of a lane are in these words.
_TOLD: Final = 12


def _lane_described(lane: Lane) -> str:
    told = [f"{band.state.value} at {in_words(band.begin)}" for band in lane.bands[:_TOLD]]
    more = f", and {len(lane.bands) - _TOLD} further states" if len(lane.bands) > _TOLD else ""
    counts = {way: sum(it.count for it in lane.traffic if it.direction == way) for way in ("in", "out")}
    ends = [f"At {in_words(it.time)}: {it.text}." for it in lane.ends[:_TOLD]]
    stretches = [f"{'; '.join(it.lines())}." for it in lane.stretches[:_TOLD]]
    messages = f"{counts['in']} messages came, {counts['out']} were sent."
    return " ".join([f"{lane.name}: {', '.join(told)}{more}.", messages, *stretches, *ends])
