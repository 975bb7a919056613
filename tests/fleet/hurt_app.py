"""The program that is hurt: as a worker it tells each server who it is, all the time, and keeps a journal.

What it takes from the environment: `HURT_JOURNAL`, the file to append to; `HURT_WORKER`, who it is; and `HURT_COMMANDS`,
a file in which it finds commands for its pipelines.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import reactivex
from reactivex import operators

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
    commands = Path(os.environ["HURT_COMMANDS"]).open()  # noqa: SIM115 - for as long as the program runs
    commands.seek(0, os.SEEK_END)
    project.subscribe(reactivex.interval(PULSE).pipe(operators.do_action(lambda _: carry_out(project, commands))))


def carry_out(project, commands):
    """The commands that have come since: they are given on any worker, whoever holds the connection."""
    for line in commands.readlines():
        command, name = line.split()
        if command == "start":
            project.websocket(name).start()
        else:
            project.websocket(name).stop()


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

    def hear(text):
        # Those who do not hold it hear nothing, unless they hear it from the holder.
        if held:
            journal.write(kind="message", name=name, session=connection.session)
            if text == "stop":
                connection.stop()

    holding(connection).subscribe(hold)
    connection.lifecycle.subscribe(note)
    connection.messages.subscribe(hear)
    project.subscribe(reactivex.interval(PULSE).pipe(operators.do_action(pulse)))
