"""What a forked process inherits, and must leave alone.

A fork copies the program, but not its threads, and shares what its descriptors stand for. A copy that wrote to a
socket, shut it down, or took it off the poll that its parent waits with would do so to the parent's. So what rxnodes
has open is put out of reach of the new process before anything runs there.
"""

from __future__ import annotations

import os
import select
import selectors
from typing import TYPE_CHECKING, Any, Final, Protocol
from weakref import WeakSet

from rxnodes.errors import RxNodesError

if TYPE_CHECKING:
    import asyncio
    import socket

__all__ = ["Owned", "guard", "inherited", "keep_from_children", "own", "part"]

#: Windows has no fork.
CAN_FORK: Final = hasattr(os, "register_at_fork")


class Owned(Protocol):
    """What belongs to the process that made it."""

    def disown(self) -> None:
        """Called in a forked process, before anything else: this copy is of no use here."""
        ...


class Lock(Protocol):
    """A lock of the standard library, of whatever kind."""

    def acquire(self) -> bool:
        """Waits for it, and takes it."""
        ...

    def release(self) -> None:
        """Lets it go."""
        ...


_owned: WeakSet[Owned] = WeakSet()
_sockets: WeakSet[socket.socket] = WeakSet()

#: What was disowned is kept to the end of the process: what ends with an object, such as a transport's, would be ended
#: for the parent too.
_kept: list[Owned] = []


def own(it: Owned) -> None:
    """Has this told in every process that is forked while it exists."""
    _owned.add(it)


def keep_from_children(sock: socket.socket) -> None:
    """Takes this socket from every process that is forked while it is open."""
    _sockets.add(sock)


def inherited(what: str) -> RxNodesError:
    """The error for a forked process that uses what its parent has opened."""
    return RxNodesError(
        f"{what} was opened by the process that this one was forked from, and can be used by that one only;"
        " open a project of its own here"
    )


def part(loop: asyncio.AbstractEventLoop) -> None:
    """In a forked process that goes on in a running loop, or shuts it down: it no longer polls for its parent.

    Linux's epoll is shared by a fork, so that a loop closed here would take its parent's sockets off the poll, and
    those by which it is woken: it would never hear of another thread or a signal again.
    """
    inner: Any = loop
    if isinstance(getattr(inner, "_selector", None), getattr(selectors, "EpollSelector", ())):
        _renew(inner._selector.fileno())  # noqa: SLF001
        inner._close_self_pipe()  # noqa: SLF001
        inner._make_self_pipe()  # noqa: SLF001
    elif hasattr(inner, "_get_backend_id") and hasattr(select, "epoll"):
        # uvloop's.
        _renew(inner._get_backend_id())  # noqa: SLF001


def _renew(poll: int) -> None:
    with select.epoll() as fresh:
        os.dup2(fresh.fileno(), poll, inheritable=False)


def guard(lock: Lock) -> None:
    """Sees to it that no process is forked while another thread holds the lock, which nobody there would let go."""
    if CAN_FORK:
        os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)


def _let_go() -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    for sock in tuple(_sockets):
        if sock.fileno() >= 0:
            # The number stays taken, so that those who know it find nothing, instead of what is opened next.
            os.dup2(nothing, sock.fileno(), inheritable=False)
    os.close(nothing)
    for it in tuple(_owned):
        _kept.append(it)
        it.disown()
    _owned.clear()
    _sockets.clear()


if CAN_FORK:
    os.register_at_fork(after_in_child=_let_go)
