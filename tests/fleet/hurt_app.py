"""The program that is hurt: as a worker it tells each server who it is, all the time, and keeps a journal.

What it takes from the environment: `HURT_JOURNAL`, the file to append to, and `HURT_WORKER`, who it is.
"""

from __future__ import annotations

import json
import os

import reactivex

from rxnodes import ConnectionState
from rxnodes.fleet.worker.lease_guard import own_clock
from rxnodes.websocket import holding

#: Seconds between two messages on a connection that is held.
PULSE = 0.1


class Journal:
    """Lines that are in the file as soon as they are written, whatever becomes of the process."""

    def __init__(self, path, **who):
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._who = who

    def write(self, **what):
        os.write(self._file, json.dumps({"at": own_clock(), **self._who, **what}).encode() + b"\n")


def build(project):
    worker = os.environ["HURT_WORKER"]
    journal = Journal(os.environ["HURT_JOURNAL"], worker=worker, pid=os.getpid())
    journal.write(kind="begun")
    for name in project.configurations:
        wire(project, project.websocket(name), worker, journal)


def wire(project, connection, worker, journal):
    name = connection.name
    held = False

    def hold(now):
        nonlocal held
        held = now
        journal.write(kind="held" if now else "let go", name=name)

    def note(event):
        more = {"error": type(event.error).__name__} if getattr(event, "error", None) is not None else {}
        journal.write(kind=type(event).__name__, name=name, session=event.session, held=held, **more)

    def pulse(_):
        if held and connection.state is ConnectionState.OPEN:
            stamp = {"worker": worker, "pid": os.getpid(), "session": connection.session, "at": own_clock()}
            connection.send(json.dumps(stamp))

    def hear(_):
        # Those who do not hold it hear nothing, unless they hear it from the holder.
        if held:
            journal.write(kind="message", name=name, session=connection.session)

    holding(connection).subscribe(hold)
    connection.lifecycle.subscribe(note)
    connection.messages.subscribe(hear)
    project.subscribe(reactivex.interval(PULSE).pipe(reactivex.operators.do_action(pulse)))
