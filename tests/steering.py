"""A fleet's worker of whom only the decisions are left: it steers a connection as a test says."""

from __future__ import annotations


class Steering:
    """Notes what it is told, and what it is asked to let pass.

    Args:
        at_once: Whether it lets dials and ends pass at once. If not, they wait for `go` and `release`.
    """

    def __init__(self, *, at_once=False):
        self.at_once = at_once
        self.is_live = False
        self.told = []
        self.events = []
        self.sent = []
        self.dials = []
        self.ends = []

    def take(self, connection):
        self.helm = connection.for_project.steer(self)
        return self.helm

    # What is asked for

    def find_out(self):
        pass

    def start(self):
        self.told.append("start")

    def stop(self, code, reason):
        self.told.append(("stop", code, reason))

    def abort(self):
        self.told.append("abort")

    def send(self, receipt):
        self.sent.append(receipt)

    def shutdown(self):
        self.told.append("shutdown")

    # What happens

    def before_dial(self, connecting, go):
        self.events.append(connecting)
        self.dials.append(go)
        if self.at_once:
            go()

    def before_stopped(self, stopped, release):
        self.events.append(stopped)
        self.ends.append((stopped, release))
        if self.at_once:
            release(stopped)

    def saw(self, event):
        self.events.append(event)

    @property
    def kinds(self):
        return [type(event).__name__ for event in self.events]

    # What a test lets pass

    def go(self):
        self.dials[-1]()

    def release(self, *, is_lost=False):
        stopped, release = self.ends[-1]
        release(None if is_lost else stopped)
