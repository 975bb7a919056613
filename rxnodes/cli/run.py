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

#: So many more objects there are before Python looks for those that refer to each other and to which nobody else does.
COLLECT_EVERY: Final = 10_000

#: Fewer than so many objects are frozen when Python starts: some hundred by CPython 3.12, none by others.
FROZEN_AT_START: Final = 1_000


def run(options: argparse.Namespace, _out: Output, err: Output) -> int:
    """Runs the function until it returns or a signal comes; the status is 1 where it raised."""
    name = ":".join(options.function)
    try:
        function = _find(*options.function)
    except RxNodesError:
        raise
    except Exception as error:  # noqa: BLE001 - a module can raise anything
        return _tell(error, f"{options.function[0]} cannot be imported", err)
    # What takes long to import comes behind what may be wrong with the function.
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
            # Of the fleet's servers: what wires nodes connects to nothing.
            raise
        return _tell(error, f"{name} raised {type(error).__name__}", err)
    return 0


@contextlib.contextmanager
def _collecting_rarely() -> Generator[None, None, None]:
    """Has Python look for cycles of objects less often than every 700 objects, and never among those of now.

    A connection is some hundred objects that stay. To look through them again and again took a tenth of the time in
    which thousands of connections are opened, and a third of that in which they are stopped.
    """
    before = gc.get_threshold()
    # A program that calls this command may have frozen its own objects, and `unfreeze` would let go of those too.
    is_ours = gc.get_freeze_count() < FROZEN_AT_START
    if is_ours:
        gc.freeze()
    gc.set_threshold(COLLECT_EVERY, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        if is_ours:
            gc.unfreeze()


def _find(module_name: str, path: str) -> Callable[[Project], object]:
    """Imports the function.

    Raises:
        RxNodesError: If there is no such module, nothing of that name in it, or what is there cannot be run.
    """
    # As `python -m` does, which a command that is installed as a program does not.
    sys.path.insert(0, os.getcwd())  # noqa: PTH109 - needs no pathlib
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        # It may also be a module that this one imports.
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
    """Opens the project, with a live page where that is asked for: of it, and of the workers of its fleet."""
    async with contextlib.AsyncExitStack() as stack:
        if options.inspect is not None:
            # The page is the outer one, so that it shows the end.
            from rxnodes.cli.inspect import inspected  # noqa: PLC0415

            await stack.enter_async_context(inspected(project, options, err, workers=workers))
        await stack.enter_async_context(project)
        yield


def _in_fleet(
    function: Callable[[Project], object], options: argparse.Namespace, err: Output
) -> tuple[Project, Coroutine[Any, Any, None]]:
    """The project as a worker of a fleet, and what runs it."""
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
    # A way to the servers of its own, as of any other who looks: the worker's is busy with what its lease depends on.
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
    """Opens the project for as long as the function, or else the program, runs."""
    async with _opened(project, options, err):
        result = function(project)
        if inspect.iscoroutine(result):
            await cast("Any", result)
        else:
            await asyncio.get_running_loop().create_future()


def _tell(error: BaseException, what: str, err: Output) -> int:
    """Prints the traceback, from where the code is not ours, and what it means."""
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_globals.get("__name__", "").partition(".")[0] in _NOT_THEIRS:
        frames = frames.tb_next
    err.lines("".join(traceback.format_exception(error.with_traceback(frames))))
    err.line(f"rxnodes: {what}")
    return 1


#: What lies between this command and the user's code.
_NOT_THEIRS = {"rxnodes", "asyncio", "uvloop", "importlib", "_frozen_importlib", "_frozen_importlib_external"}
