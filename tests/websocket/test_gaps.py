"""Gaps: when nothing could be heard, and what was skipped; on scripted peers in virtual time."""

from __future__ import annotations

import asyncio
import json
import threading

import pytest
from reactivex import operators as ops

from rxnodes import DecodeError, ErrorEvent, Opened, Project
from rxnodes.codecs import as_codec
from rxnodes.testing import ScriptedTransport, attempts, gap, in_virtual_time, peer_script, record
from rxnodes.websocket import Gap, client_send, on_gap, on_receive, on_start

RECONNECT = {"enabled": True, "initial_delay": 0.5, "jitter": False, "factor": 1.0}


class Feed:
    """A connection whose peers play marbles, and the gaps that it tells of, in seconds from its first `Opened`."""

    def __init__(self, *scripts, messages=None, reconnect=RECONNECT, tick=0.1, codec=None):
        self.transport = ScriptedTransport(attempts(*scripts, messages=messages, tick=tick))
        self.project = Project(
            websocket={"feed": {"url": "ws://feed.test/", "reconnect": reconnect, "codec": codec}},
            transport=self.transport,
        )
        self.connection = self.project.websocket("feed")
        self.gaps: list[Gap] = []

    async def __aenter__(self):
        await self.project.__aenter__()
        self.recording = record(self.connection)
        return self

    async def __aexit__(self, *exception):
        await self.project.__aexit__(*exception)

    @property
    def times(self):
        return [(self._second(it.since), self._second(it.until)) for it in self.gaps]

    @property
    def missed(self):
        return [None if it.missed is None else list(it.missed) for it in self.gaps]

    def _second(self, at):
        return round((at - self.recording.of(Opened)[0].value.at).total_seconds(), 3)


async def watched(*scripts, messages=None, seconds=3, **options):
    """The gaps of a session, stopped in the end."""
    feed = Feed(*scripts, messages=messages)
    async with feed:
        on_gap(feed.connection, **options).subscribe(feed.gaps.append)
        feed.connection.start()
        await asyncio.sleep(seconds)
    return feed


# --- The time in which nothing could be heard -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attempt", "last_sign"),
    [
        ("-o---#", 0.0),
        ("-o-m-----#", 0.2),
        ("-o-m--m--#", 0.5),
        ("-o-m---p-#", 0.6),
        ("-o-p--m--#", 0.5),
        ("-o-m-----|", 0.2),
        ("-o-m-----X", 0.2),
    ],
)
@in_virtual_time
async def test_it_lasts_from_the_last_sign_of_life_to_the_new_opened(attempt, last_sign):
    feed = Feed(peer_script(attempt, close=(1012, "restarting")), "--o")
    async with feed:
        on_gap(feed.connection).subscribe(feed.gaps.append)
        feed.connection.start()
        await asyncio.sleep(3)
    first, second = (it.value for it in feed.recording.of(Opened))
    assert feed.times == [(last_sign, (second.at - first.at).total_seconds())]
    assert feed.gaps == [
        gap(connection="feed", session=1, attempt=2, at=second.at, since=feed.gaps[0].since, until=second.at)
    ]


@in_virtual_time
async def test_each_reconnect_has_one_and_attempts_that_fail_lengthen_it():
    feed = await watched("o-m-#", "-r", "o-m-#", "-r", "-r", "o", seconds=5)
    feed.recording.assert_marbles("(co)-m-(ed)----c(ed)----(co)-m-(ed)----c(ed)----c(ed)----(co)-------------(xs)")
    assert feed.times == [(0.2, 1.5), (1.7, 3.6)]
    assert [it.attempt for it in feed.gaps] == [3, 6]


@in_virtual_time
async def test_a_new_session_is_no_gap():
    feed = Feed("-o-m", "-o-m", "-o-m-#", "-o-m", messages=["1", "5", "9", "13"])
    async with feed:
        on_gap(feed.connection, sequence=int).subscribe(feed.gaps.append)
        for seconds in (1, 1, 0.6):
            feed.connection.start()
            await asyncio.sleep(seconds)
            feed.connection.stop()
            await feed.connection.wait_stopped()
        # Nor is one that follows on a retry that was cut short.
        feed.connection.start()
        await asyncio.sleep(1)
    feed.recording.assert_marbles("co-m------(xsc)o-m------(xsc)o-m-(ed)(xsc)o-m------(xs)")
    assert feed.gaps == []


@in_virtual_time
async def test_no_gap_without_a_reconnect():
    feed = await watched("-r", "-r", "-o-m----m")
    assert feed.gaps == []


@in_virtual_time
async def test_it_is_told_behind_opened_and_the_same_to_all():
    feed = Feed("o-#", "o")
    order = []
    async with feed:
        gaps = on_gap(feed.connection)
        gaps.subscribe(lambda _: order.append("one"))
        gaps.subscribe(lambda _: order.append("another"))
        on_start(feed.connection).subscribe(lambda _: order.append("opened"))
        feed.connection.start()
        await asyncio.sleep(2)
    assert order == ["opened", "opened", "one", "another"]


@in_virtual_time
async def test_a_pipeline_fetches_what_it_missed():
    feed = Feed("o-m-----#", "-o", messages=["news"])
    async with feed:
        feed.project.subscribe(
            on_gap(feed.connection).pipe(
                client_send(feed.connection, lambda it: f"history of {(it.until - it.since).total_seconds()} s"),
            )
        )
        feed.connection.start()
        await asyncio.sleep(3)
    assert [peer.received for peer in feed.transport.peers] == [[], ["history of 1.2 s"]]


# --- What was before the first subscription ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("at", "since"),
    [(0.65, 0.65), (0.3, 0.6), (0.85, 0.85), (1.25, 1.25)],
    ids=["silent since", "a message since", "between two attempts", "while dialling"],
)
@in_virtual_time
async def test_a_gap_does_not_begin_before_the_first_subscription(at, since):
    feed = Feed("o-m---m-#", "---o")
    async with feed:
        gaps = on_gap(feed.connection)
        feed.connection.start()
        await asyncio.sleep(at)
        gaps.subscribe(feed.gaps.append)
        await asyncio.sleep(3)
    assert feed.times == [(pytest.approx(since), 1.6)]


@in_virtual_time
async def test_subscribed_within_the_notification_of_the_reconnect():
    feed = Feed("o-#", "o-m-m-#", "o", messages=["1", "5"])
    async with feed:
        reconnects = on_start(feed.connection).pipe(ops.filter(lambda opened: opened.is_reconnect), ops.take(1))
        reconnects.pipe(ops.flat_map(lambda _: on_gap(feed.connection, sequence=int))).subscribe(feed.gaps.append)
        feed.connection.start()
        await asyncio.sleep(3)
    assert feed.missed == [[2, 3, 4], None]
    assert [it.attempt for it in feed.gaps] == [2, 3]


@in_virtual_time
async def test_what_comes_while_nobody_is_subscribed_is_not_known():
    feed = Feed("o-m-m-m---m--#", "o", messages=["1", "2", "7", "9"])
    async with feed:
        gaps = on_gap(feed.connection, sequence=int)
        feed.connection.start()
        one, other = gaps.subscribe(feed.gaps.append), gaps.subscribe()
        await asyncio.sleep(0.45)
        one.dispose()
        other.dispose()
        await asyncio.sleep(0.3)
        # The feed's recording alone still observes them.
        assert len(feed.connection.for_nodes.batches(is_binary=None)._subscriptions) == 1
        gaps.subscribe(feed.gaps.append)
        await asyncio.sleep(3)
    # Of 7 nobody was told, so that 9 is the first number again.
    assert feed.missed == [None]
    assert feed.times == [(1.0, 1.8)]


@in_virtual_time
async def test_it_is_followed_as_long_as_one_is_subscribed():
    feed = Feed("o-#", "o")
    async with feed:
        gaps = on_gap(feed.connection)
        one = gaps.subscribe(lambda _: pytest.fail("disposed"))
        gaps.subscribe(feed.gaps.append)
        one.dispose()
        feed.connection.start()
        await asyncio.sleep(2)
    assert len(feed.gaps) == 1


# --- Numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("numbers", "missed"),
    [
        ("1 2 3 4", []),
        ("1 2 4", [[3]]),
        ("5 9 11", [[6, 7, 8], [10]]),
        ("1 2 2 3", []),
        ("7 8 1 2 4", [[3]]),
        ("-3 -2 0", [[-1]]),
        ("1 none 2 none 4", [[3]]),
        ("7 8 11 9 10 12 13", [[9, 10]]),
        ("1 3 2 4 3 5", [[2], [4]]),
        ("1 4 9 3 2 8 10", [[2, 3], [5, 6, 7, 8]]),
        ("5 9 1 2 6 10", [[6, 7, 8], [3, 4, 5], [7, 8, 9]]),
    ],
)
@in_virtual_time
async def test_numbers_that_are_skipped(numbers, missed):
    messages = numbers.split()
    feed = await watched(
        "o" + "-m" * len(messages), messages=messages, sequence=lambda it: None if it == "none" else int(it)
    )
    assert feed.missed == missed


@in_virtual_time
async def test_a_skip_lasts_from_the_last_number_to_the_next():
    feed = await watched("o-m--m-m", messages=["1", "none", "4"], sequence=lambda it: int(it) if it != "none" else None)
    assert feed.times == [(0.2, 0.7)]
    assert feed.gaps[0].at == feed.gaps[0].until
    assert (feed.gaps[0].session, feed.gaps[0].attempt) == (1, 1)


@in_virtual_time
async def test_after_a_reconnect_the_time_comes_first_and_the_numbers_when_they_are_known():
    feed = await watched("o-m-m-#", "-o-m-m", messages=["7", "8", "11", "12"], sequence=int)
    assert feed.missed == [None, [9, 10]]
    assert feed.times == [(0.4, 1.2), (0.4, 1.4)]
    assert [it.attempt for it in feed.gaps] == [2, 2]


@pytest.mark.parametrize("numbers", ["7 8 9", "7 8 8", "7 8 1"], ids=["resumed", "repeated", "anew"])
@in_virtual_time
async def test_after_a_reconnect_nothing_may_have_been_missed(numbers):
    feed = await watched("o-m-m-#", "-o-m", messages=numbers.split(), sequence=int)
    assert feed.missed == [None]


@pytest.mark.parametrize(
    ("form", "expected"),
    [({}, ["text"]), ({"codec": bytes}, [b"text", b"\xff"]), ({"codec": None}, ["text", b"\xff"])],
)
@in_virtual_time
async def test_messages_are_numbered_in_the_form_that_is_asked_for(form, expected):
    seen = []
    feed = await watched("o-(mm)", messages=["text", b"\xff"], sequence=seen.append, **form)
    assert seen == expected
    assert feed.gaps == []


@in_virtual_time
async def test_a_pipeline_that_asks_again_for_what_it_missed_asks_once():
    """What is sent again has its number, and comes late."""
    feed = Feed("o-(mmm)--(mm)-mm", messages=["7", "8", "11", "9", "10", "12", "13"])
    async with feed:
        connection = feed.connection
        feed.project.subscribe(
            on_gap(connection, sequence=int).pipe(client_send(connection, lambda it: f"again: {list(it.missed)}"))
        )
        connection.start()
        await asyncio.sleep(2)
    assert feed.transport.peer.received == ["again: [9, 10]"]


async def number_of(message):
    return int(message)


@in_virtual_time
async def test_a_sequence_that_is_no_plain_function_is_refused():
    for sequence, says in [
        ("n", "expected a function that returns a message's number"),
        (number_of, "a plain function"),
    ]:
        with pytest.raises(TypeError, match=says):
            on_gap(Feed("o").connection, sequence=sequence)


QUOTES = ['{"n": 1}', '{"n": 2}', '{"n":', '{"n": 5}']


@pytest.mark.parametrize("own", [True, False])
@in_virtual_time
async def test_a_codec_reads_each_message_once_for_all_and_skips_are_told_behind_the_message(own):
    reads = []

    def read(message):
        reads.append(message)
        return json.loads(message)

    codec = (json.dumps, read)
    feed = Feed("o-m-m-m-m", messages=QUOTES, codec=codec if own else None)
    given = {} if own else {"codec": as_codec(codec)}
    order = []
    async with feed:
        on_gap(feed.connection, sequence=lambda quote: quote["n"], **given).subscribe(
            lambda it: order.append(list(it.missed))
        )
        on_receive(feed.connection, **given).subscribe(lambda quote: order.append(quote["n"]))
        feed.connection.start()
        await asyncio.sleep(1)
    assert order == [1, 2, 5, [3, 4]]
    assert reads == QUOTES
    assert [type(event.error) for event in feed.recording.errors] == [DecodeError]


@in_virtual_time
async def test_what_does_not_fit_the_codec_is_a_sign_of_life():
    feed = Feed("o-m---#", "o", messages=["no number"])
    async with feed:
        on_gap(feed.connection, sequence=lambda number: number, codec=int).subscribe(feed.gaps.append)
        feed.connection.start()
        await asyncio.sleep(2)
    assert feed.times == [(0.2, 1.1)]


@pytest.mark.parametrize("position", [0, 1])
@pytest.mark.parametrize(("bad", "cause"), [("x", ValueError), ("1.5", TypeError), ("nan.", TypeError)])
@in_virtual_time
async def test_a_sequence_that_fails_is_an_error_event_and_the_stream_goes_on(bad, cause, position):
    def number(message):
        return float(message.rstrip(".")) if "." in message else int(message)

    messages = ["1", "2", "4"]
    messages.insert(position, bad)
    feed = await watched("o-m-m-m-m", messages=messages, sequence=number)
    feed.recording.assert_marbles(["(co)-(me)-m-m-m 2.1s (xs)", "(co)-m-(me)-m-m 2.1s (xs)"][position])
    assert isinstance(feed.recording.errors[0], ErrorEvent)
    assert feed.recording.errors[0].phase == "handler"
    assert isinstance(feed.recording.errors[0].error.__cause__, cause)
    assert feed.missed == [[3]]


@in_virtual_time
async def test_a_read_of_several_messages():
    feed = Feed("o")
    async with feed:
        on_gap(feed.connection, sequence=int).subscribe(feed.gaps.append)
        feed.connection.start()
        await feed.connection.wait_started()
        feed.transport.peer._sink.messages(["1", "3", "x", "4", "9"])
    assert feed.missed == [[2], [5, 6, 7, 8]]
    assert len(feed.recording.errors) == 1


# --- Like the other event nodes ---------------------------------------------------------------------------------------


@in_virtual_time
async def test_it_completes_when_the_project_closes():
    feed = Feed("o")
    ends = []
    async with feed:
        gaps = on_gap(feed.connection)
        gaps.subscribe(on_completed=lambda: ends.append("one"))
        feed.connection.start()
        await asyncio.sleep(1)
        assert ends == []
    assert ends == ["one"]
    gaps.subscribe(on_completed=lambda: ends.append("late"))
    on_gap(feed.connection).subscribe(on_completed=lambda: ends.append("never before"))
    assert ends == ["one", "late", "never before"]


def test_subscribing_from_another_thread():
    done = threading.Event()
    feed = Feed(
        lambda peer: (peer.accept(), peer.reset()),
        lambda peer: peer.accept(),
        reconnect={**RECONNECT, "initial_delay": 0.001},
    )
    gaps = []
    with feed.project:
        subscription = on_gap(feed.connection).subscribe(lambda it: (gaps.append(it), done.set()))
        feed.connection.start()
        assert done.wait(10)
        subscription.dispose()
        feed.connection.stop()
    assert [it.attempt for it in gaps] == [2]
    assert gaps[0].since <= gaps[0].until
