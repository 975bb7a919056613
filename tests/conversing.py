"""What the tests of requests and of channels share."""

from __future__ import annotations

import contextlib
import threading

from rxnodes import ErrorEvent


def errors_of(chat):
    return [event for event in chat.journal.events if isinstance(event, ErrorEvent)]


def idle(connection):
    """Whether nobody but the journal listens."""
    return (
        len(connection.lifecycle._subscriptions),
        len(connection.messages._subscriptions),
        len(connection.for_nodes.texts._subscriptions),
    ) == (2, 1, 0)


class Told:
    """What an observer was told."""

    def __init__(self, observable=None, **options):
        self.all = []
        if observable is not None:
            self.subscription = observable.subscribe(
                self.all.append, self.all.append, lambda: self.all.append("completed"), **options
            )


def no_match(message):
    raise KeyError("id")


def no_message():
    raise KeyError("token")


@contextlib.contextmanager
def busy(project):
    """Keeps the loop's thread from doing anything meanwhile."""
    is_busy, is_free = threading.Event(), threading.Event()

    async def hold():
        is_busy.set()
        is_free.wait(5)

    holding = threading.Thread(target=project.call, args=(hold,))
    holding.start()
    is_busy.wait(5)
    yield
    is_free.set()
    holding.join()
