"""A connection on a scripted transport, in virtual time."""

from __future__ import annotations

import asyncio
import functools
import inspect
import threading

from promises import Journal

from rxnodes.connection.connection import Connection
from rxnodes.connection.greeting import Login
from rxnodes.lifecycle.policy import Policy, ReconnectPolicy
from rxnodes.testing.virtual_time import run_in_virtual_time
from rxnodes.transport.base import Target
from rxnodes.transport.receipts import SendQueue
from rxnodes.transport.scripted import ScriptedTransport


def virtual(test):
    """Runs an async test on a loop where waiting takes no time."""

    @functools.wraps(test)
    def run(*args, **kwargs):
        broken.clear()
        run_in_virtual_time(test(*args, **kwargs))
        assert broken == []

    # Not a coroutine function to those who look through the wrapper.
    del run.__wrapped__
    run.__signature__ = inspect.signature(test)
    return run


#: Assertions of journals that failed within a notification, where a connection keeps them from the test.
broken: list[BaseException | None] = []


def accept(peer):
    peer.accept()


class Chat:
    """A connection, its transport, and a journal of what it told."""

    def __init__(  # noqa: PLR0913 - a connection has many sides
        self,
        script=accept,
        *,
        reconnect=None,
        send_queue=None,
        codec=None,
        after_connect=None,
        journal=Journal,
        **policy,
    ):
        self.transport = ScriptedTransport(script)
        policy = Policy(
            reconnect=ReconnectPolicy(enabled=True, **reconnect) if reconnect is not None else ReconnectPolicy(),
            **policy,
        )
        self.connection = Connection(
            "chat",
            Target(
                url="ws://test/?token=secret",
                redacted_url="ws://test/?token=***",
                send_queue=send_queue or SendQueue(),
            ),
            policy,
            self.transport,
            codec=codec,
            login=None if after_connect is None else Login(hook=after_connect, codec=codec),
        )
        self.connection.for_project.attach(asyncio.get_running_loop(), threading.get_ident())
        self.journal = journal()
        first = []
        self.connection.states.subscribe(lambda state: self.journal.state(state) if first else first.append(state))
        self.connection.lifecycle.subscribe(self.journal.event)
        self.connection.messages.subscribe(self.journal.message)
        self.handler_errors = []
        self.connection.errors.subscribe(self._note)

    def _note(self, event):
        if event.phase == "handler":
            self.handler_errors.append(event.error)
            if isinstance(event.error.__cause__, AssertionError):
                broken.append(event.error.__cause__)

    def end(self, how):
        """Ends the session as a user does, or as the project does when it is left."""
        getattr(self.connection.for_project if how == "shutdown" else self.connection, how)()

    @property
    def peer(self):
        return self.transport.peer

    async def opened(self):
        self.connection.start()
        await self.connection.wait_started()
        return self
