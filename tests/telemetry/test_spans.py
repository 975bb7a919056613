"""Which spans there are, from when to when, and what they say."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from opentelemetry.trace import SpanKind, StatusCode
from projects import project_of
from steering import Steering

from rxnodes import Closing, Connecting, Dropped, Opened, Project, Stopped
from rxnodes.telemetry import instrument
from rxnodes.telemetry.words import nanoseconds
from rxnodes.testing import ScriptedTransport, attempts, in_virtual_time, peer_script


@in_virtual_time
async def test_an_attempt_and_a_closing_are_a_span_each(observed):
    events = {}
    reconnect = {"enabled": True, "initial_delay": 1, "jitter": False}
    transport = ScriptedTransport(attempts(lambda peer: peer.refuse("full", status=503), "-o", close=(4000, "enough")))
    settings = {"url": "ws://chat.test/?token=secret", "reconnect": reconnect}
    async with Project(websocket={"chat": settings}, transport=transport) as project:
        with observed.providers["tracer_provider"].get_tracer("a program").start_as_current_span("a request"):
            instrument(project, **observed.providers)
            chat = project.websocket("chat")
            chat.lifecycle.subscribe(lambda event: events.setdefault(type(event), []).append(event))
            chat.start()
            await asyncio.sleep(5)
            chat.stop(code=4000)
            await chat.wait_stopped()
    refused, opened, closed = [it for it in observed.spans if it.name != "a request"]
    assert [it.name for it in (refused, opened, closed)] == [
        "websocket connect",
        "websocket connect",
        "websocket close",
    ]
    first, second = events[Connecting]
    for span, begin, end in (
        (refused, first, events[Dropped][0]),
        (opened, second, events[Opened][0]),
        (closed, events[Closing][0], events[Stopped][0]),
    ):
        assert (span.start_time, span.end_time) == (nanoseconds(begin.at), nanoseconds(end.at))
        assert span.kind is SpanKind.CLIENT
        assert span.parent is None, "a connection outlives whoever started it"
        assert span.attributes["rxnodes.connection.name"] == "chat"
        assert (span.attributes["rxnodes.session.id"], span.attributes["rxnodes.attempt.id"]) == (1, begin.attempt)
    assert (refused.status.status_code, refused.status.description) == (StatusCode.ERROR, "full")
    assert refused.attributes["rxnodes.outcome"] == "failed"
    assert (refused.attributes["error.type"], refused.attributes["http.response.status_code"]) == ("ConnectError", 503)
    assert refused.attributes["rxnodes.close.code"] == 1006
    assert opened.attributes["rxnodes.outcome"] == "opened"
    assert opened.attributes["url.full"] == first.url
    assert closed.attributes["rxnodes.initiator"] == "local"
    assert (closed.attributes["rxnodes.close.code"], closed.attributes["rxnodes.close.clean"]) == (4000, True)
    assert {opened.status.status_code, closed.status.status_code} == {StatusCode.UNSET}
    assert "secret" not in observed.everything()


@pytest.mark.parametrize(
    ("script", "fields", "connect", "close"),
    [
        pytest.param("", {}, ("stopped", StatusCode.UNSET), StatusCode.UNSET, id="stopped while connecting"),
        pytest.param("r", {}, ("failed", StatusCode.ERROR), None, id="refused for good"),
        pytest.param("oX", {}, ("opened", StatusCode.UNSET), StatusCode.UNSET, id="closed by the peer"),
        pytest.param("o#", {}, ("opened", StatusCode.UNSET), None, id="broken, which is no closing"),
        pytest.param(
            "o", {"answers_close": False}, ("opened", StatusCode.UNSET), StatusCode.ERROR, id="closing takes too long"
        ),
    ],
)
@in_virtual_time
async def test_how_it_came_out(observed, script, fields, connect, close):
    async with project_of(peer_script(script, **fields)) as project:
        instrument(project, **observed.providers)
        project.websocket("chat").start()
        await asyncio.sleep(1)
    spans = {it.name: it for it in observed.spans}
    assert len(spans) == len(observed.spans)
    attempt = spans["websocket connect"]
    assert (attempt.attributes["rxnodes.outcome"], attempt.status.status_code) == connect
    assert (spans["websocket close"].status.status_code if "websocket close" in spans else None) == close


@in_virtual_time
async def test_what_is_under_way_when_it_is_disposed_ends_then(observed):
    async with project_of(None) as project:
        disposable = instrument(project, **observed.providers)
        project.websocket("chat").start()
        assert observed.spans == ()
        disposable.dispose()
        (span,) = observed.spans
        assert "rxnodes.outcome" not in span.attributes
    assert len(observed.spans) == 1


def test_the_time_of_an_event_is_exact():
    assert nanoseconds(datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)) == 1767323045_678901_000


@in_virtual_time
async def test_a_session_that_another_ends_leaves_no_span_open(observed):
    """Its `Stopped` is told elsewhere."""
    steering = Steering(at_once=True)
    async with project_of(peer_script("-o")) as project:
        project.steer(steering.take)
        instrument(project, **observed.providers)
        chat = project.websocket("chat")
        steering.helm.begin(4)
        await chat.wait_started()
        steering.at_once = False
        steering.helm.abort()
        await asyncio.sleep(1)
        assert [it.name for it in observed.spans] == ["websocket connect"]
        steering.release(is_lost=True)
        assert [it.name for it in observed.spans] == ["websocket connect", "websocket close"]
