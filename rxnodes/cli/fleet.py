"""`rxnodes fleet`: shows a fleet, and starts, stops, drains and rebalances it."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

from rxnodes.cli.fleets import ANSWER_WITHIN, observed_fleet, store_of
from rxnodes.cli.output import DIM, RED, printable
from rxnodes.durations import in_words
from rxnodes.errors import RxNodesError, UnknownConfiguration
from rxnodes.fleet.ordering import Leave, LetGo, order_letter, order_subject
from rxnodes.fleet.overview import Lookout
from rxnodes.fleet.remote.fleet import Fleet
from rxnodes.fleet.store import NobodyThere, Unknown
from rxnodes.project.run import run as run_in_order

if TYPE_CHECKING:
    import argparse
    from collections.abc import Awaitable, Callable, Iterable

    from rxnodes.cli.output import Output
    from rxnodes.fleet.ordering import WorkerOrder
    from rxnodes.fleet.overview import ConnectionSeen, WorkerSeen
    from rxnodes.fleet.remote.connection import RemoteConnection
    from rxnodes.fleet.settings import FleetSettings
    from rxnodes.fleet.store import Store

__all__ = ["run"]

#: The seconds in which a worker must answer.
_PATIENCE: Final = 2.0
#: After how many seconds a reminder names the connections that it waits for, and how many of them it names.
_REMINDED_AFTER: Final = 5.0
_MOST_NAMED: Final = 10
#: How many connections change their worker at once, when a fleet is rebalanced.
_AT_ONCE: Final = 10


def run(options: argparse.Namespace, out: Output, err: Output) -> int:
    """Runs one action; the status says whether all of it succeeded."""
    fleet = observed_fleet(options.fleet, options.settings)
    return run_in_order(_ACTIONS[options.action](fleet, options, out, err))


def _store_of(fleet: FleetSettings) -> Store:
    return store_of(fleet, is_observer=True, patience=ANSWER_WITHIN)


# --- status -----------------------------------------------------------------------------------------------------------


async def _status(fleet: FleetSettings, options: argparse.Namespace, out: Output, err: Output) -> int:  # noqa: ARG001
    async with Lookout(_store_of(fleet)) as lookout:
        await lookout.see_who_is_alive()
        connections = [lookout.connection(name) for name in _known(options.names or lookout.names, lookout.names)]
        if options.json:
            out.line(json.dumps(_as_json(fleet, lookout, connections)))
        else:
            _print_status(fleet, lookout, connections, out)
    return 0


def _known(names: Iterable[str], known: Iterable[str]) -> list[str]:
    """The names, each once.

    Raises:
        UnknownConfiguration: If one is not known.
    """
    known = set(known)
    for name in names:
        if name not in known:
            raise UnknownConfiguration(name, known)
    return list(dict.fromkeys(names))


def _as_json(fleet: FleetSettings, lookout: Lookout, connections: list[ConnectionSeen]) -> dict[str, Any]:
    workers = [seen.plain for seen in lookout.listed]
    shown = [
        {
            "name": it.name,
            "state": it.state,
            "session": it.tail.session,
            "wanted": it.is_wanted,
            "holder": it.record.holder,
            "held": lookout.is_held(it),
        }
        for it in connections
    ]
    return {"fleet": fleet.name, "servers": fleet.servers, "workers": workers, "connections": shown}


def _print_status(fleet: FleetSettings, lookout: Lookout, connections: list[ConnectionSeen], out: Output) -> None:
    out.line(printable(f"fleet {fleet.name!r} at {', '.join(fleet.servers)}"))
    out.line()
    workers = lookout.listed
    out.line("Workers" if workers else "Workers: none")
    width = max((len(seen.lease.worker) for seen in workers), default=0)
    for seen in workers:
        text = printable(f"  {seen.lease.worker:<{width}}  {_worker_in_words(seen)}")
        out.line(text if seen.is_alive else out.painted(text, RED))
    out.line()
    out.line(f"Connections: {_summary(lookout, connections)}" if connections else "Connections: none")
    width = max((len(it.name) for it in connections), default=0)
    for it in connections:
        is_missing = it.is_wanted and not lookout.is_held(it)
        text = printable(f"  {it.name:<{width}}  {it.state:<12}  session {it.tail.session:<6}  {_holder(lookout, it)}")
        out.line(out.painted(text, RED if is_missing else "" if it.is_wanted else DIM))


def _worker_in_words(seen: WorkerSeen) -> str:
    lease = seen.lease
    if not seen.is_alive:
        # The clocks of two machines may differ.
        silence = in_words(max(1, round(time.time() - lease.at)))
        return f"held {lease.held}; silent for {silence}: dead, cut off, or stopped"
    text = f"holds {lease.held}" + (f" of {lease.capacity} at most" if lease.capacity is not None else "")
    return f"{text}; draining" if lease.is_draining else text


def _summary(lookout: Lookout, connections: list[ConnectionSeen]) -> str:
    counts = Counter(it.state for it in connections)
    unheld = sum(it.is_wanted and not lookout.is_held(it) for it in connections)
    parts = [f"{count} {state}" for state, count in counts.most_common()] + ([f"{unheld} unheld"] if unheld else [])
    return ", ".join(parts)


def _holder(lookout: Lookout, it: ConnectionSeen) -> str:
    if lookout.is_held(it):
        return it.record.holder or ""
    return "unheld" if it.is_wanted else "-"


# --- start and stop ---------------------------------------------------------------------------------------------------


async def _start(fleet: FleetSettings, options: argparse.Namespace, out: Output, err: Output) -> int:
    async def start(connection: RemoteConnection) -> str:
        connection.start()
        opened = await connection.wait_started()
        return f"open, session {opened.session}"

    return await _command(fleet, options, start, out, err)


async def _stop(fleet: FleetSettings, options: argparse.Namespace, out: Output, err: Output) -> int:
    async def stop(connection: RemoteConnection) -> str:
        was_live = connection.is_live
        connection.stop(code=options.code, reason=options.reason)
        if not was_live:
            return "was not live"
        stopped = await connection.wait_stopped()
        reason = f' "{stopped.reason}"' if stopped.reason else ""
        return f"stopped, session {stopped.session}: {stopped.code}{reason}"

    return await _command(fleet, options, stop, out, err)


async def _command(
    fleet: FleetSettings,
    options: argparse.Namespace,
    act: Callable[[RemoteConnection], Awaitable[str]],
    out: Output,
    err: Output,
) -> int:
    """Does the same with many connections, and prints the result of each."""

    async def one(connection: RemoteConnection) -> bool:
        try:
            says, output = await act(connection), out
        except RxNodesError as error:
            says, output = str(error), err
        output.line(printable(f"{connection.name}: {says}"))
        return output is out

    async with Fleet(_store_of(fleet)) as remote:
        names = remote.names if options.all else _known(options.names, remote.names)
        acting = {name: asyncio.create_task(one(remote.websocket(name))) for name in names}
        reminder = asyncio.get_running_loop().call_later(_REMINDED_AFTER, _remind, acting, err)
        results = await asyncio.gather(*acting.values())
        reminder.cancel()
    return 0 if all(results) else 1


def _remind(acting: dict[str, asyncio.Task[bool]], err: Output) -> None:
    """Names the connections that it waits for. If no worker holds one of them, that may take for ever."""
    left = [name for name, task in acting.items() if not task.done()]
    if left:
        more = f" and {len(left) - _MOST_NAMED} more" if len(left) > _MOST_NAMED else ""
        names = printable(", ".join(left[:_MOST_NAMED]))
        err.line(f"waiting for {names}{more}; Ctrl+C ends that, and what was asked for stands")


# --- drain and rebalance ----------------------------------------------------------------------------------------------


async def _drain(fleet: FleetSettings, options: argparse.Namespace, out: Output, err: Output) -> int:
    async with Lookout(_store_of(fleet)) as lookout:
        await lookout.see_who_is_alive()
        workers = _workers(options.workers, lookout)
        for worker in workers:
            await _order(lookout, worker, Leave())
            out.line(printable(f"{worker}: draining"))
        left = set(workers)
        are_lost = False
        while left:
            for worker in sorted(left):
                seen = lookout.workers.get(worker)
                if seen is None:
                    out.line(printable(f"{worker}: has left"))
                elif not seen.is_alive:
                    are_lost = True
                    err.line(printable(f"{worker}: lost its lease before it had left: dead, cut off, or stopped"))
                else:
                    continue
                left.discard(worker)
            if left:
                await lookout.change()
    return int(are_lost)


def _workers(asked: list[str], lookout: Lookout) -> list[str]:
    """The ids of live workers, which are given by their ids or their hosts.

    Raises:
        RxNodesError: If no live worker has a given id or host.
    """
    alive = {worker: seen.lease.host for worker, seen in lookout.workers.items() if seen.is_alive}
    found: dict[str, None] = {}
    for name in asked:
        those = [worker for worker, host in alive.items() if name in (worker, host)]
        if not those:
            known = ", ".join(sorted(alive)) or "none"
            raise RxNodesError(f"no worker {name!r} is alive, and none on a host of that name (workers: {known})")
        found |= dict.fromkeys(those)
    return list(found)


async def _order(lookout: Lookout, worker: str, order: WorkerOrder) -> None:
    """Sends an order to a worker.

    Raises:
        RxNodesError: If it does not answer.
    """
    try:
        await lookout.store.request(order_subject(worker), order_letter(order), timeout=_PATIENCE)
    except (NobodyThere, Unknown):
        raise RxNodesError(f"the worker {worker!r} does not answer") from None


async def _rebalance(fleet: FleetSettings, options: argparse.Namespace, out: Output, err: Output) -> int:  # noqa: ARG001
    async with Lookout(_store_of(fleet)) as lookout:
        await lookout.see_who_is_alive()
        moves = list(lookout.moves().items())
        if not moves:
            out.line("each worker has its share")
        for begin in range(0, len(moves), _AT_ONCE):
            await _move(lookout, dict(moves[begin : begin + _AT_ONCE]), out)
    return 0


async def _move(lookout: Lookout, moves: dict[str, str], out: Output) -> None:
    """Has workers let go some connections, and waits until others hold them.

    Raises:
        RxNodesError: If no live worker is left to hold them.
    """
    epochs = {name: lookout.connection(name).record.epoch for name in moves}
    for worker in sorted({*moves.values()}):
        await _order(lookout, worker, LetGo([name for name, holder in moves.items() if holder == worker]))
    while epochs:
        for name in list(epochs):
            record = lookout.connection(name).record
            if record.epoch > epochs[name] and record.holder is not None:
                del epochs[name]
                out.line(printable(f"{name}: {moves[name]} -> {record.holder}"))
        if epochs:
            if not any(seen.is_alive for seen in lookout.workers.values()):
                raise RxNodesError(f"no worker is alive any more that could hold {', '.join(sorted(epochs))}")
            await lookout.change()


_ACTIONS = {"status": _status, "start": _start, "stop": _stop, "drain": _drain, "rebalance": _rebalance}
