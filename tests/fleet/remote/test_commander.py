"""Commands are written each once, in the order in which they were given."""

from __future__ import annotations

import asyncio

import pytest
from fleet.memory_store import MemoryEngine

from rxnodes.fleet.letters import record_of
from rxnodes.fleet.remote.commander import Command, Commander
from rxnodes.testing import in_virtual_time


class Restless:
    """A connection that is given the next command when it is told what became of one, and one more a moment later."""

    name = "chat"

    def __init__(self, commander, count):
        self.commander = commander
        self.left = [Command(is_start=not number % 2, code=4000 + number) for number in range(count)]
        self.commands = []
        self.resolved = []

    def give(self):
        if self.left:
            self.commands.append(self.left.pop(0))
            self.commander.give(self)

    def known(self):
        return None

    def resolve(self, command, *_):
        self.resolved.append(command)
        self.give()
        asyncio.get_running_loop().call_later(0.0035, self.give)

    def give_up(self, command, _error):
        self.resolve(command)


@pytest.mark.parametrize("is_full", [False, True])
@in_virtual_time
async def test_what_one_command_leads_to_is_written_once_too(is_full, caplog):
    engine = MemoryEngine(is_full=is_full)
    store = engine.store()
    await store.open()
    commander = Commander(store)
    connection = Restless(commander, 10)
    given = list(connection.left)
    connection.give()
    await asyncio.sleep(1)
    await commander.finish(0)
    assert connection.resolved == given
    assert caplog.messages == []
    if not is_full:
        wishes = [record_of(seen.value).wish for seen in engine.records.changes]
        assert [wish.id for wish in wishes] == [command.id for command in given]
