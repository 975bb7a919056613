"""`rxnodes run`: opens a project, and runs a function of the user's with it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import inspect
import operator
import os
import sys
import traceback
from typing import TYPE_CHECKING, Any, Final, cast

from rxnodes.errors import ConnectError, RxNodesError

if TYPE_CHECKING:
    import argparse
    from collections.abc import AsyncGenerator, Callable, Coroutine, Generator

    from rxnodes.cli.output import Output
    from rxnodes.fleet.roster import Roster
    from rxnodes.project.project import Project

__all__ = ["run"]

#: After so many new objects Python looks for cycles. Its own default is 700.
COLLECT_EVERY: Final = 10_000


def run(options: argparse.Namespace, _out: Output, err: Output) -> int:
    """Runs the function until it returns or a signal comes; the status is 1 if it raised."""
    name = ":".join(options.function)
    try:
        function = _find(*options.function)
    except RxNodesError:
        raise
    except Exception as error:  # noqa: BLE001 - a module can raise anything
        return _tell(error, f"{options.function[0]} cannot be imported", err)
    # These take long to import. A problem with the function is printed before.
    from rxnodes.cli.pictures import recorded_to  # noqa: PLC0415
    from rxnodes.project.project import Project  # noqa: PLC0415
    from rxnodes.project.run import run as run_in_order  # noqa: PLC0415

    if options.fleet is None:
        project = Project.load(options.settings)
        main = _hold(project, function, options, err)
    else:
        project, main = _in_fleet(function, options, err)
    try:
        with recorded_to(options.record, project), _collecting_rarely():
            run_in_order(main)
    except (Exception, asyncio.CancelledError) as error:
        if options.fleet is not None and isinstance(error, ConnectError):
            # It is about the fleet's servers, because a function that wires nodes connects to nothing.
            raise
        return _tell(error, f"{name} raised {type(error).__name__}", err)
    return 0


@contextlib.contextmanager
def _collecting_rarely() -> Generator[None, None, None]:
    """Has Python look for cycles of objects less often, and never among the objects of now.

    A connection is some hundred objects that stay. Looking through them again and again took a tenth of the time in
    which thousands of connections were opened, and a third of the time in which they were stopped.
    """
    before = gc.get_threshold()
    # They stay frozen: `unfreeze` would let go of what a caller has frozen, too, and a process runs one program.
    gc.freeze()
    gc.set_threshold(COLLECT_EVERY, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _find(module_name: str, path: str) -> Callable[[Project], object]:
    """Imports the function.

    Raises:
        RxNodesError: If there is no such module, it has nothing of that name, or that cannot be run.
    """
    # `python -m` adds it too, an installed program does not.
    sys.path.insert(0, os.getcwd())  # noqa: PTH109 - needs no pathlib
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # The missing module may also be one that this module imports.
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise RxNodesError(
            f"there is no module {error.name!r}, neither in the current directory nor installed"
        ) from error
    try:
        function = operator.attrgetter(path)(module)
    except AttributeError as error:
        raise RxNodesError(f"the module {module_name!r} has no {path!r}") from error
    if not callable(function):
        raise RxNodesError(f"{module_name}:{path} is not a function, but {type(function).__name__}")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise RxNodesError(f"{module_name}:{path} is a generator function, for it has a yield: nothing of it would run")
    return cast("Callable[[Project], object]", function)


@contextlib.asynccontextmanager
async def _opened(
    project: Project, options: argparse.Namespace, err: Output, workers: Roster | None = None
) -> AsyncGenerator[None, None]:
    """Opens the project, and with `--inspect` its live page, which also shows the workers of its fleet."""
    async with contextlib.AsyncExitStack() as stack:
        if options.inspect is not None:
            # The page is outside the project, so that it shows the end.
            from rxnodes.cli.inspect import inspected  # noqa: PLC0415

            await stack.enter_async_context(inspected(project, options, err, workers=workers))
        await stack.enter_async_context(project)
        yield


def _in_fleet(
    function: Callable[[Project], object], options: argparse.Namespace, err: Output
) -> tuple[Project, Coroutine[Any, Any, None]]:
    """The project as a worker of a fleet, and the coroutine that runs it."""
    from rxnodes import settings  # noqa: PLC0415 - as in `run`
    from rxnodes.cli.fleets import fleet_of, store_of  # noqa: PLC0415
    from rxnodes.fleet.roster import Roster  # noqa: PLC0415
    from rxnodes.fleet.worker.lease_guard import LeaseGuard  # noqa: PLC0415
    from rxnodes.fleet.worker.worker import Worker  # noqa: PLC0415
    from rxnodes.project.plugin_settings import installed_plugins  # noqa: PLC0415
    from rxnodes.project.project import Project  # noqa: PLC0415
    from rxnodes.transport.aiohttp import AiohttpTransport  # noqa: PLC0415

    if inspect.iscoroutinefunction(function):
        raise RxNodesError(
            f"{':'.join(options.function)} is a coroutine function, which every worker would run: a fleet takes a plain"
            " function that wires nodes"
        )
    loaded = settings.load(options.settings, installed_plugins())
    fleet = fleet_of(loaded, options.fleet, options.settings)
    store = store_of(fleet, is_observer=False)
    # The page has its own connection to the servers. The worker's lease depends on the worker's one.
    roster = None if options.inspect is None else Roster(store_of(fleet, is_observer=True))
    guard = LeaseGuard()
    project = Project.of(loaded, AiohttpTransport(guard.is_allowed))

    async def hold() -> None:
        async with _opened(project, options, err, roster):
            worker = Worker(project, store, guard, lease=fleet.lease, capacity=fleet.capacity, kept=fleet.messages)
            _check_wired(function(project), ":".join(options.function))
            err.line(f"joining the fleet {fleet.name!r} at {', '.join(fleet.servers)} (Ctrl+C leaves it)")
            async with roster or contextlib.nullcontext(), worker:
                await worker.left()

    return project, hold()


def _check_wired(result: object, name: str) -> None:
    if inspect.iscoroutine(result):
        result.close()
        raise RxNodesError(f"{name} gave a coroutine: a fleet takes a function that wires nodes, and gives nothing")


async def _hold(
    project: Project, function: Callable[[Project], object], options: argparse.Namespace, err: Output
) -> None:
    """Opens the project until the coroutine function returns, or with any other function until a signal comes."""
    async with _opened(project, options, err):
        result = function(project)
        if inspect.iscoroutine(result):
            await cast("Any", result)
        else:
            await asyncio.get_running_loop().create_future()


def _tell(error: BaseException, what: str, err: Output) -> int:
    """Prints the traceback, from the first frame of the user's code on, and what happened."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_globals.get("__name__", "").partition(".")[0] in _NOT_THEIRS:
        frames = frames.tb_next
    err.lines("".join(traceback.format_exception(error.with_traceback(frames))))
    err.line(f"rxnodes: {what}")
    return 1


#: The modules between this command and the user's code.
_NOT_THEIRS = {"rxnodes", "asyncio", "uvloop", "importlib", "_frozen_importlib", "_frozen_importlib_external"}
