"""A client of an Autobahn|Testsuite fuzzing server, built with what rxnodes offers every user.

The server is asked over WebSocket how many cases there are, is let run each of them against an echo, and then says what
it thinks of it.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from rxnodes import Project, pulse
from rxnodes.websocket import client_send, client_start, on_receive

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from reactivex import Observable

    from rxnodes import Connection

ACCEPTED = frozenset({"OK", "NON-STRICT", "INFORMATIONAL"})

#: The suite's largest message has 16 MiB.
MAX_MESSAGE_SIZE = 32 * 1024 * 1024

#: Seconds that one case may take; then the connection is aborted, and the server judges what it saw. The suite itself
#: gives up on its slowest case after 480.
PATIENCE = 500.0

#: Seconds for a question, which the server answers at once.
ANSWER_TIME = 30.0


def echo(connection: Connection) -> Observable[str | bytes]:
    """Text is sent back as text, and binary as binary."""
    return on_receive(connection, codec=None).pipe(client_send(connection, codec=None))


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the server thinks of one case.

    Attributes:
        case: Its number, from 1.
        behavior: What was received, such as `OK` or `FAILED`.
        name: Its name, such as `7.9.5`, as far as it was asked for.
        close: How the connection was closed; `None`: not known.
    """

    case: int
    behavior: str
    name: str = ""
    close: str | None = None

    @property
    def is_accepted(self) -> bool:
        """Whether nothing is wrong with it."""
        return self.behavior in ACCEPTED and self.close in (None, *ACCEPTED)

    def __str__(self) -> str:
        close = "" if self.close is None else f", close {self.close}"
        return f"{self.name or f'case number {self.case}'}: {self.behavior}{close}"


class FuzzingClient:
    """Drives a fuzzing server.

    Args:
        url: Where it listens; on this machine, because it is nothing to point at others.
        agent: What the client is called in its reports.
    """

    def __init__(self, url: str, agent: str = "rxnodes") -> None:
        host = urlsplit(url).hostname or ""
        if host != "localhost" and not ip_address(host).is_loopback:
            raise ValueError(f"a fuzzing server must be on this machine, not on {host!r}")
        self._url = url.rstrip("/")
        self._agent = agent

    async def count(self) -> int:
        """How many cases there are."""
        return int(json.loads(await self._ask("getCaseCount")))

    async def run(self, case: int) -> None:
        """Lets a case run. What came of it is for the server to say."""
        async with self._project("runCase", case=case) as project:
            connection = project.websocket("it")
            project.subscribe(echo(connection), pulse().pipe(client_start(connection)))
            try:
                async with asyncio.timeout(PATIENCE):
                    await connection.wait_stopped()
            except TimeoutError:
                connection.abort()

    async def verdict(self, case: int) -> Verdict:
        """What the server thinks of a case that has run; its name too, if that is bad."""
        behavior = str(json.loads(await self._ask("getCaseStatus", case=case))["behavior"])
        if behavior in ACCEPTED:
            return Verdict(case, behavior)
        return Verdict(case, behavior, await self.name(case))

    async def name(self, case: int) -> str:
        """What a case is called."""
        return str(json.loads(await self._ask("getCaseInfo", case=case))["id"])

    async def update_reports(self) -> None:
        """Has the server write its reports."""
        async with self._project("updateReports") as project, asyncio.timeout(ANSWER_TIME):
            connection = project.websocket("it")
            connection.start()
            await connection.wait_stopped()

    async def _ask(self, what: str, **query: object) -> str:
        async with self._project(what, **query) as project, asyncio.timeout(ANSWER_TIME):
            connection = project.websocket("it")
            answers: list[str] = []
            on_receive(connection).subscribe(answers.append)
            connection.start()
            stopped = await connection.wait_stopped()
        if len(answers) != 1:
            raise AssertionError(f"{what} gave {len(answers)} answers: {answers!r:.200}; the end was {stopped}")
        return answers[0]

    def _project(self, what: str, **query: object) -> Project:
        return Project(
            websocket={
                "it": {
                    "url": f"{self._url}/{what}",
                    "query": {"agent": self._agent, **{name: str(value) for name, value in query.items()}},
                    "compression": True,
                    "heartbeat": None,
                    "max_message_size": MAX_MESSAGE_SIZE,
                    "close_timeout": 10,
                }
            }
        )


async def run_all(client: FuzzingClient) -> list[Verdict]:
    """Runs every case, has the reports written, and gives what the server thinks."""
    cases = range(1, await client.count() + 1)
    for case in cases:
        await client.run(case)
    verdicts = [await client.verdict(case) for case in cases]
    await client.update_reports()
    return verdicts


def read_reports(folder: Path, agent: str = "rxnodes") -> list[Verdict]:
    """What the server's reports say, which tell also how each connection was closed."""
    reports = json.loads((folder / "index.json").read_text())[agent]
    return [
        Verdict(number, report["behavior"], name, report["behaviorClose"])
        for number, (name, report) in enumerate(reports.items(), 1)
    ]


def check(verdicts: Sequence[Verdict]) -> None:
    """The gate: fails on anything that is not accepted, and names it."""
    if not verdicts:
        raise AssertionError("the server has no cases")
    refused = [str(verdict) for verdict in verdicts if not verdict.is_accepted]
    if refused:
        raise AssertionError(f"{len(refused)} of {len(verdicts)} cases: " + "; ".join(refused))
