"""Helpers to test consumers: observers, work that takes a while, and sources that can be paused."""

from __future__ import annotations

import asyncio
import threading

from reactivex import Subject

from rxnodes.rx.backpressure import PauseControl, deliver


class Seen(list):
    """All that an observer has seen."""

    def __init__(self, source=None, **kwargs):
        if source is not None:
            self.follow(source, **kwargs)

    def follow(self, source, scheduler=None):
        self.subscription = source.subscribe(
            self.append, lambda error: self.append(("error", error)), lambda: self.append("|"), scheduler=scheduler
        )
        return self


class Work:
    """A coroutine function that takes a while, and records its items."""

    def __init__(self, seconds=1.0):
        self.seconds = seconds
        self.begun, self.done, self.cancelled = [], [], []
        self.most = 0

    async def __call__(self, item):
        self.begun.append(item)
        self.most = max(self.most, len(self.begun) - len(self.done) - len(self.cancelled))
        try:
            await asyncio.sleep(self.seconds(item) if callable(self.seconds) else self.seconds)
        except asyncio.CancelledError:
            self.cancelled.append(item)
            raise
        self.done.append(item)
        return f"did {item}"


class Source:
    """A subject whose emissions come under a pause control, as those of a connection do."""

    def __init__(self):
        self.subject = Subject()
        self.turns = []
        self.pause_control = PauseControl(self.turns.append, lambda action: action())

    def emit(self, *items):
        for item in items:
            deliver(self.pause_control, self.subject.on_next, item)

    @property
    def is_paused(self):
        return self.pause_control.is_paused


def feed(subject, *items):
    for item in items:
        subject.on_next(item)


def now():
    return asyncio.get_running_loop().time()


def in_thread(function):
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()
