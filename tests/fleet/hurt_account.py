"""What was logged, noted and seen of a fleet that was hurt, and what of it must not be."""

from __future__ import annotations

from collections import Counter, defaultdict


class Account:
    """Reads what was logged, noted and seen, and finds what must not be."""

    def __init__(self, hurt):
        self.problems = list(hurt.problems)
        self.sessions = self.entries = self.said = self.delivered = 0
        self._hurt = hurt
        if hurt.log.gaps:
            self._wrong("log", f"gaps: {hurt.log.gaps}")
        for name, entries in hurt.log.entries.items():
            self.entries += len(entries)
            self._epochs(name, entries)
            self._sessions(name, entries)
        notes = {worker.name: worker.notes() for worker in hurt.workers}
        for name in hurt.names:
            self._one_at_a_time(name, "said", hurt.site.said[name], at="heard")
            self.said += len(hurt.site.said[name])
            delivered = [it for all_ in notes.values() for it in all_ if it["kind"] == "message" and it["name"] == name]
            self.delivered += len(delivered)
            self._one_at_a_time(name, "delivered", delivered, at="at")
        for worker in hurt.workers:
            self._told(worker, notes[worker.name])
        for name, events in hurt.seen.items():
            self._seen(name, hurt.log.entries[name], events)

    def _wrong(self, name, what):
        self.problems.append(f"{name}: {what}")

    def _epochs(self, name, entries):
        """In each epoch one worker wrote, and epochs rise."""
        by_epoch = defaultdict(set)
        for entry in entries:
            by_epoch[entry.epoch].add(entry.worker)
        for epoch, workers in by_epoch.items():
            if len(workers) > 1:
                self._wrong(name, f"{workers} wrote in epoch {epoch}")
        epochs = [entry.epoch for entry in entries]
        if epochs != sorted(epochs):
            self._wrong(name, f"epochs go back: {epochs}")
        ids = Counter(entry.id for entry in entries)
        if doubled := [it for it, count in ids.items() if count > 1]:
            self._wrong(name, f"entries stand twice: {doubled}")

    def _sessions(self, name, entries):
        """Each session begins once and ends once, one behind the other.

        A number may be left out: that of a session which was lost before the log had it.
        """
        live = last = 0
        for entry in entries:
            event = entry.event
            if event is None or (entry.kind == "ErrorEvent" and event.session in (0, last)):
                continue
            if entry.kind == "Connecting" and not live:
                if event.session <= last:
                    self._wrong(name, f"session {event.session} begins behind {last}")
                live = last = event.session
                self.sessions += 1
            elif event.session != live:
                self._wrong(name, f"{entry.kind} of session {event.session} while {live} is live, by {entry.worker}")
            elif entry.kind == "Stopped":
                live = 0
        if live:
            self._wrong(name, f"session {live} has not ended")

    def _one_at_a_time(self, name, what, seen, *, at):
        """In each session one process acts, and not any more once the next one has begun."""
        runs = []
        for it in sorted(seen, key=lambda it: it[at]):
            who = (it["session"], it["worker"], it["pid"])
            if not runs or runs[-1] != who:
                if who in runs:
                    self._wrong(name, f"{what}: {who} again behind {runs[-1]}, {it}")
                elif runs and who[0] <= runs[-1][0]:
                    self._wrong(name, f"{what}: {who} behind {runs[-1]}, {it}")
                runs.append(who)

    def _told(self, worker, notes):
        """What a worker's own pipelines were told: of a session of its own at most one Stopped."""
        ends = Counter((it["pid"], it["name"], it["session"]) for it in notes if it["kind"] == "Stopped")
        for (_, name, session), count in ends.items():
            if count > 1:
                self._wrong(worker.name, f"told {count} ends of session {session} of {name}")

    def _seen(self, name, entries, events):
        """An observer was told each entry, once and in order. What failed of its own is not in the log."""
        logged = [(it.kind, it.event.session) for it in entries if it.event is not None and it.kind != "ErrorEvent"]
        seen = [(type(it).__name__, it.session) for it in events if type(it).__name__ != "ErrorEvent"]
        if seen != logged:
            at = next(
                (at for at, (one, other) in enumerate(zip(seen, logged, strict=False)) if one != other), len(seen)
            )
            self._wrong(name, f"an observer saw {seen[at - 1 : at + 3]} where {logged[at - 1 : at + 3]} is logged")

    def __str__(self):
        hurt = self._hurt
        return (
            f"seed {hurt.seed}: {hurt.rounds} rounds, {dict(hurt.faults)}; {self.sessions} sessions, {self.entries} "
            f"entries, {self.said} messages heard and {self.delivered} delivered; the slowest wish {hurt.slowest:.2f} s\n"
            + "\n".join(self.problems or ["nothing is wrong"])
        )
