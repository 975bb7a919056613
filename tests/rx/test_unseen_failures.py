"""No pipeline fails unseen, however it is subscribed, nor any observable that an operator subscribes to."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta

import pytest
import reactivex
from reactivex import Observable
from reactivex import operators as ops
from reactivex.disposable import Disposable
from virtual import accept, virtual

from rxnodes import HandlerError, Project, Trigger, map_async, pulse
from rxnodes.testing.virtual_time import run_in_virtual_time
from rxnodes.transport.scripted import ScriptedTransport
from rxnodes.websocket import client_send, on_error, on_receive, on_start, on_stop, until_stopped


class BadError(Exception):
    """The error of the pipelines in these tests."""


def bad(*_):
    raise BadError


def failing():
    """It errors at once when somebody subscribes."""
    return pulse().pipe(ops.map(bad))


INNER = {
    "failing": failing,
    # It raises when somebody subscribes.
    "raising": lambda: Observable(bad),
    # It errors at an item that a scheduler emits.
    "listed": lambda: reactivex.of(1, 2).pipe(ops.map(bad)),
    "thrown": lambda: reactivex.throw(BadError()),
}

#: For each way in which operators subscribe to another observable within a notification, a pipeline of messages.
OPERATORS = {
    "amb": lambda inner: ops.flat_map(lambda _: reactivex.amb(inner(), reactivex.never())),
    "buffer": lambda inner: ops.buffer(inner()),
    "buffer_when": ops.buffer_when,
    "catch": lambda inner: ops.flat_map(lambda _: reactivex.throw(ValueError()).pipe(ops.catch(inner()))),
    "combine_latest": lambda inner: ops.flat_map(lambda _: reactivex.combine_latest(pulse(1), inner())),
    "concat": lambda inner: ops.flat_map(lambda _: reactivex.concat(pulse(1), inner())),
    "concat_map": lambda inner: ops.concat_map(lambda _: inner()),
    "defer": lambda inner: ops.flat_map(lambda _: reactivex.defer(lambda _: inner())),
    "delay_with_mapper": lambda inner: ops.delay_with_mapper(lambda _: inner()),
    "do_while": lambda inner: ops.flat_map(lambda _: inner().pipe(ops.do_while(lambda _: False))),
    "exclusive": lambda inner: (ops.map(lambda _: inner()), ops.exclusive()),
    "flat_map": lambda inner: ops.flat_map(lambda _: inner()),
    "flat_map_latest": lambda inner: ops.flat_map_latest(lambda _: inner()),
    "for_in": lambda inner: ops.flat_map(lambda _: reactivex.for_in([1, 2], lambda _: inner())),
    "fork_join": lambda inner: ops.flat_map(lambda _: reactivex.fork_join(pulse(), inner())),
    "group_by": lambda inner: (ops.group_by(len), ops.flat_map(lambda group: group.pipe(ops.map(bad)))),
    "group_join": lambda inner: ops.group_join(reactivex.never(), lambda _: inner(), lambda _: reactivex.never()),
    "merge": lambda inner: ops.flat_map(lambda _: reactivex.merge(pulse(1), inner())),
    "merge_all": lambda inner: (ops.map(lambda _: inner()), ops.merge_all()),
    "multicast": lambda inner: ops.flat_map(
        lambda _: inner().pipe(
            ops.multicast(subject_factory=lambda _: reactivex.subject.Subject(), mapper=lambda it: it)
        )
    ),
    "on_error_resume_next": lambda inner: ops.flat_map(
        lambda _: reactivex.on_error_resume_next(pulse(), inner()).pipe(ops.concat(inner()))
    ),
    "repeat": lambda inner: ops.flat_map(lambda _: inner().pipe(ops.repeat(2))),
    "replay": lambda inner: ops.flat_map(lambda _: inner().pipe(ops.replay(mapper=lambda it: it, buffer_size=1))),
    "retry": lambda inner: ops.flat_map(lambda _: inner().pipe(ops.retry(2))),
    "sample": lambda inner: ops.flat_map(lambda _: pulse().pipe(ops.concat(reactivex.never()), ops.sample(inner()))),
    "sequence_equal": lambda inner: ops.flat_map(lambda _: pulse().pipe(ops.sequence_equal(inner()))),
    "skip_until": lambda inner: ops.flat_map(
        lambda _: pulse().pipe(ops.concat(reactivex.never()), ops.skip_until(inner()))
    ),
    "switch_latest": lambda inner: (ops.map(lambda _: inner()), ops.switch_latest()),
    "take_until": lambda inner: ops.flat_map(lambda _: reactivex.never().pipe(ops.take_until(inner()))),
    "timeout_with_mapper": lambda inner: ops.timeout_with_mapper(reactivex.never(), lambda _: inner()),
    "until_stopped": lambda inner: ops.flat_map(lambda _: inner().pipe(ops.materialize(), ops.dematerialize())),
    "using": lambda inner: ops.flat_map(lambda _: reactivex.using(Disposable, lambda _: inner())),
    "window": lambda inner: (ops.window(inner()), ops.merge_all()),
    "window_when": lambda inner: (ops.window_when(inner), ops.merge_all()),
    "with_latest_from": lambda inner: ops.flat_map(lambda _: reactivex.never().pipe(ops.with_latest_from(inner()))),
    "zip": lambda inner: ops.flat_map(lambda _: reactivex.zip(pulse(), inner())),
}

#: They subscribe when the pipeline is subscribed to, and not within a notification.
SUBSCRIBED_BEFORE = {"buffer", "buffer_when", "window", "window_when"}

#: They subscribe in a later turn of the loop.
PUT_OFF = {"catch", "concat", "do_while", "for_in", "merge", "on_error_resume_next", "repeat", "replay", "retry"}


class Watch:
    """A project with an open connection, and the failures that could be seen."""

    def __init__(self, caplog):
        self.transport = ScriptedTransport(accept)
        self.project = Project(websocket={"chat": "ws://chat.test/"}, transport=self.transport)
        self.chat = self.project.websocket("chat")
        self.caplog = caplog
        self.events = []

    async def __aenter__(self):
        await self.project.__aenter__()
        self.chat.start()
        await self.chat.wait_started()
        on_error(self.chat).subscribe(self.events.append)
        return self

    async def __aexit__(self, *why):
        await self.project.__aexit__(*why)

    def check(self, *, has_event=True):
        """There is one log record with the traceback, and one event if the failure was within a notification."""
        (record,) = [it for it in self.caplog.records if it.levelno >= logging.WARNING]
        assert record.exc_info[0] is BadError
        assert record.getMessage().endswith("a pipeline ended with an error")
        assert [event.phase for event in self.events] == ["handler"] * has_event
        for event in self.events:
            assert isinstance(event.error, HandlerError)
            assert isinstance(event.error.__cause__, BadError)
            assert event.message == "a pipeline ended with BadError"


@pytest.mark.slow(but_every=9)
@pytest.mark.parametrize("inner", INNER)
@pytest.mark.parametrize("operator", OPERATORS)
@virtual
async def test_whatever_an_operator_subscribes_within_a_notification(caplog, operator, inner):
    is_notifying = False
    chain = OPERATORS[operator](INNER[inner])
    async with Watch(caplog) as watch:
        chain = chain if isinstance(chain, tuple) else (chain,)
        within = []
        chain = (*chain, ops.do_action(on_error=lambda _: within.append(is_notifying)))
        watch.project.subscribe(on_receive(watch.chat).pipe(*chain))
        await asyncio.sleep(0)
        for message in ("one", "two"):
            is_notifying = True
            watch.transport.peer.send(message)
            is_notifying = False
        await asyncio.sleep(1)
        assert watch.chat.is_live
        (is_within,) = within
        watch.check(has_event=is_within)
        # The items of a list and a thrown error come in a later turn.
        if inner in ("failing", "raising"):
            assert is_within is (operator not in SUBSCRIBED_BEFORE | PUT_OFF)


TIMED = {
    "delay": lambda: ops.delay(1),
    "delay_subscription": lambda: ops.flat_map(lambda _: failing().pipe(ops.delay_subscription(1))),
    "interval": lambda: ops.flat_map(lambda _: reactivex.interval(1)),
    "map_async": lambda: map_async(lambda _: asyncio.sleep(1)),
    "timeout": lambda: reactivex.compose(ops.skip(1), ops.timeout(1, failing())),
    "timer": lambda: ops.flat_map(lambda _: reactivex.timer(timedelta(seconds=1), 1)),
}


@pytest.mark.parametrize("operator", TIMED)
@virtual
async def test_what_fails_later_is_logged(caplog, operator):
    async with Watch(caplog) as watch:
        watch.project.subscribe(on_receive(watch.chat).pipe(TIMED[operator](), ops.map(bad)))
        watch.transport.peer.send("one")
        await asyncio.sleep(5)
        watch.check(has_event=False)


@pytest.mark.parametrize("inner", INNER)
@pytest.mark.parametrize("notifies", ["on_start", "on_receive", "lifecycle", "states", "ended", "on_stop", "on_error"])
@virtual
async def test_what_is_subscribed_by_a_subscriber(caplog, notifies, inner):
    watch = Watch(caplog)
    chat = watch.chat
    streams = {
        "on_start": on_start(chat),
        "on_receive": on_receive(chat),
        "lifecycle": chat.lifecycle,
        "states": chat.states.pipe(ops.skip(1)),
        "ended": chat.for_nodes.ended,
        "on_stop": on_stop(chat),
        "on_error": on_error(chat),
    }
    streams[notifies].pipe(ops.first()).subscribe(lambda _: watch.project.subscribe(INNER[inner]()))
    errors = []
    on_error(chat).subscribe(errors.append)
    async with watch.project:
        chat.start()
        await chat.wait_started()
        watch.transport.peer.send("one")
        if notifies == "on_error":
            watch.chat.for_nodes.report_unwritten(ValueError(), None)
        await asyncio.sleep(0)
        chat.stop()
        await chat.wait_stopped()
        await asyncio.sleep(0)
        (record,) = [it for it in caplog.records if it.levelno >= logging.ERROR]
        assert record.exc_info[0] is BadError
        # While an ErrorEvent or a Stopped is delivered, it is only logged (promise 7), and so it is in a later turn.
        has_event = notifies in ("on_start", "on_receive", "lifecycle", "states") and inner in ("failing", "raising")
        assert [event for event in errors if event.phase == "handler"] == (errors[-1:] if has_event else [])


@virtual
async def test_what_is_replayed_is_a_notification(caplog):
    async with Watch(caplog) as watch:
        watch.project.subscribe(watch.chat.states.pipe(ops.map(bad)))
        watch.check()


@virtual
async def test_the_connection_that_notifies_is_the_innermost(caplog):
    transport = ScriptedTransport(accept)
    async with Project(websocket={"a": "ws://a.test/", "b": "ws://b.test/"}, transport=transport) as project:
        a, b = project.websocket("a"), project.websocket("b")
        events = []
        on_error(a).subscribe(events.append)
        on_error(b).subscribe(events.append)
        project.subscribe(
            on_start(a).pipe(ops.do_action(lambda _: b.start())),
            b.lifecycle.pipe(ops.flat_map(lambda _: failing())),
        )
        a.start()
        await a.wait_started()
        await b.wait_started()
        assert [(event.connection, event.phase) for event in events] == [("b", "handler")]
        assert [it.getMessage() for it in caplog.records] == ["b: a pipeline ended with an error"]


@virtual
async def test_a_trigger_that_is_fired_within_a_notification(caplog):
    trigger = Trigger()
    async with Watch(caplog) as watch:
        watch.project.subscribe(trigger.pipe(ops.map(bad)), on_receive(watch.chat).pipe(ops.do_action(trigger.fire)))
        watch.transport.peer.send("one")
        watch.transport.peer.send("two")
        watch.check()


@virtual
async def test_the_error_of_a_switch_is_its_pipelines(caplog):
    async with Watch(caplog) as watch:
        switch = on_receive(watch.chat).pipe(ops.flat_map(lambda _: failing()))
        watch.project.subscribe(Trigger().pipe(client_send(watch.chat, "x", enabled=switch), until_stopped(watch.chat)))
        watch.transport.peer.send("one")
        watch.check()


@virtual
async def test_outside_of_notifications_it_is_logged(caplog):
    async with Watch(caplog) as watch:
        watch.project.subscribe(failing())
        watch.check(has_event=False)


@virtual
async def test_a_pipeline_that_raises_after_it_has_completed_ends_no_other(caplog):
    def subscribe(observer, _scheduler=None):
        observer.on_completed()
        bad()

    seen = []
    async with Watch(caplog) as watch:
        watch.project.subscribe(Observable(subscribe), pulse("other").pipe(ops.do_action(seen.append)))
        assert seen == ["other"]
        watch.check(has_event=False)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_is_meant_for_the_program_reaches_it(error, caplog):
    def leave(_):
        raise error

    async def main():
        async with Watch(caplog) as watch:
            watch.project.subscribe(on_receive(watch.chat).pipe(ops.flat_map(lambda _: pulse()), ops.map(leave)))
            watch.transport.peer.send("one")
            await asyncio.sleep(1)

    with pytest.raises(error):
        run_in_virtual_time(main())
    assert [it for it in caplog.records if it.levelno >= logging.WARNING] == []
