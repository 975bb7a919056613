"""Lifecycle events as log events."""

from __future__ import annotations

import asyncio

from opentelemetry._logs import SeverityNumber

from rxnodes import Project
from rxnodes.telemetry import instrument
from rxnodes.telemetry.words import nanoseconds
from rxnodes.testing import ScriptedTransport, attempts, in_virtual_time, peer_script


@in_virtual_time
async def test_each_lifecycle_event_is_a_log_event(observed):
    events = []
    reconnect = {"enabled": True, "initial_delay": 2, "jitter": False}
    transport = ScriptedTransport(attempts(peer_script("-r"), peer_script("o-X", close=(4000, "enough"))))
    settings = {"url": "ws://chat.test/?token=secret", "reconnect": reconnect | {"final_codes": [4000]}}
    async with Project(websocket={"chat": settings}, transport=transport) as project:
        instrument(project, **observed.providers)
        chat = project.websocket("chat")
        chat.lifecycle.subscribe(events.append)
        chat.start()
        await asyncio.sleep(10)
    names = ["connecting", "error", "dropped", "connecting", "opened", "closing", "stopped"]
    assert [it.event_name for it in observed.logs] == [f"rxnodes.{name}" for name in names]
    assert [it.timestamp for it in observed.logs] == [nanoseconds(event.at) for event in events]
    for log, event in zip(observed.logs, events, strict=True):
        words = {f"rxnodes.{word}" for word in ("connection.name", "session.id", "attempt.id")}
        assert [log.attributes[word] for word in sorted(words)] == [event.attempt, "chat", event.session]
        assert log.trace_id == 0
    error, dropped, opened, closing, stopped = (observed.logs[index] for index in (1, 2, 4, 5, 6))
    assert error.body == f"chat: {events[1].message}"
    assert (error.attributes["rxnodes.phase"], error.attributes["error.type"]) == ("connect", "ConnectError")
    assert dropped.attributes["rxnodes.retry.delay"] == 2
    assert opened.attributes["rxnodes.connect.duration"] == 0
    assert closing.attributes["rxnodes.initiator"] == "remote"
    assert [stopped.attributes[f"rxnodes.close.{word}"] for word in ("code", "reason", "clean")] == [
        4000,
        "enough",
        True,
    ]
    severities = [SeverityNumber.ERROR, SeverityNumber.WARN, SeverityNumber.INFO]
    assert [it.severity_number for it in (error, dropped, stopped)] == severities
    assert "secret" not in observed.everything()
