"""The workers of a fleet, as programs and pages are told of them."""

from __future__ import annotations

import json

import pytest
from inspector.test_inspector import serving

from rxnodes.inspector.workers import LOOK_EVERY, WorkersReader


class Told:
    """A source whose answer a test changes."""

    def __init__(self, **parts):
        self.parts = parts

    def told(self):
        return dict(self.parts)


async def test_a_program_is_told_of_workers_where_there_is_a_fleet():
    source = Told(current=True, workers=[{"id": "w1"}], holders={"chat": "w1"}, takeovers=[])
    async with serving(workers=source) as (client, _):
        status, headers, text = await client.ask("/api/workers")
        assert (status, headers["Content-Type"]) == (200, "application/json; charset=utf-8")
        assert json.loads(text) == source.parts
        assert (await client.ask("/api/workers", token="another"))[0] == 401  # noqa: S106 - a wrong one
        assert (await client.ask("/api/workers", "POST"))[0] == 405
    async with serving() as (client, _):
        assert (await client.ask("/api/workers"))[0] == 404


async def test_a_page_is_told_of_them_behind_the_snapshot_and_of_what_changes(monkeypatch):
    monkeypatch.setattr("rxnodes.inspector.workers.LOOK_EVERY", 0.05)
    source = Told(workers=[{"id": "w\u2028"}], holders={"chat": "w"})
    async with serving(workers=source) as (client, project), client.events() as stream:
        assert (await stream.next())[0] == "snapshot"
        assert await stream.told() == ("workers", source.parts)
        source.parts["holders"] = {}
        assert await stream.told() == ("workers", {"holders": {}})
        # The place of the stream is that of the connections' events.
        project.websocket("chat").start()
        assert (await stream.next())[0] == "update"


@pytest.mark.parametrize(("after", "expected"), [(LOOK_EVERY / 2, None), (LOOK_EVERY, {"workers": [1]})])
def test_a_reader_looks_once_a_second(after, expected):
    source = Told(workers=[], holders={})
    reader = WorkersReader(source)
    assert json.loads(reader.news(5)) == {"workers": [], "holders": {}}
    source.parts["workers"] = [1]
    news = reader.news(5 + after)
    assert (None if news is None else json.loads(news)) == expected
    assert reader.news(5 + after) is None


def test_without_a_fleet_there_is_nothing_to_tell():
    assert WorkersReader(None).news(5) is None
