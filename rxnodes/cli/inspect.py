"""`rxnodes inspect`: opens a project, and serves its live page. Other commands serve it with `--inspect`."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from rxnodes.errors import RxNodesError
from rxnodes.inspector import Inspector
from rxnodes.project.project import Project
from rxnodes.project.run import run as run_in_order

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncGenerator

    from rxnodes.cli.output import Output
    from rxnodes.fleet.remote.fleet import Fleet
    from rxnodes.fleet.roster import Roster

__all__ = ["inspected", "run"]


def run(options: argparse.Namespace, out: Output, _err: Output) -> int:
    """Serves the page until a signal comes."""
    return run_in_order(_serve(*_project_and_workers(options), options, out))


def _project_and_workers(options: argparse.Namespace) -> tuple[Project | Fleet, Roster | None]:
    """The project of the settings, or a fleet and its workers."""
    if options.fleet is None:
        return Project.load(options.settings), None
    from rxnodes.cli.fleets import observed_fleet, store_of  # noqa: PLC0415 - few need it
    from rxnodes.fleet.remote.fleet import Fleet  # noqa: PLC0415
    from rxnodes.fleet.roster import Roster  # noqa: PLC0415

    settings = observed_fleet(options.fleet, options.settings)
    return Fleet(store_of(settings, is_observer=True)), Roster(store_of(settings, is_observer=True))


async def _serve(project: Project | Fleet, workers: Roster | None, options: argparse.Namespace, out: Output) -> int:
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(inspected(project, options, out, host=options.host, workers=workers))
        if workers is not None:
            await stack.enter_async_context(workers)
        await stack.enter_async_context(project)
        out.line("Ctrl+C ends it.")
        await out.until_unread()
    return 0


@contextlib.asynccontextmanager
async def inspected(
    project: Project | Fleet,
    options: argparse.Namespace,
    out: Output,
    *,
    host: str = "127.0.0.1",
    workers: Roster | None = None,
) -> AsyncGenerator[None, None]:
    """Serves the page of a project, and prints its URL. Enter the project within, so that the page shows its end."""
    try:
        inspector = Inspector(project, host, options.inspect, _read_token(options.token_file), workers=workers)
    except ValueError as error:
        option = "--token-file: " if options.token_file else "--host: "
        raise RxNodesError(f"{option}{error}") from None
    async with inspector:
        out.line(f"live page: {inspector.url}")
        yield


def _read_token(file: str | None) -> str | None:
    return None if file is None else Path(file).read_text(encoding="ascii", errors="replace").strip()
