"""Keeps a forked process away from the sockets and event loops of its parent.

A fork copies the program but not its threads, and shares the open descriptors. If the child wrote to a socket, shut it
down, or removed it from the parent's poll, the parent's connection would suffer. So rxnodes takes the parent's sockets
and loops away from the child before anything else runs there.
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
    from threading import Lock, RLock

__all__ = ["Owned", "guard", "inherited", "keep_from_children", "own", "separate_poll"]

#: Windows has no fork.
CAN_FORK: Final = hasattr(os, "register_at_fork")


class Owned(Protocol):
    """An object that can be used only in the process that made it."""

    def disown(self) -> None:
        """Called in a forked process before anything else, so that the copy there does nothing."""
        ...


_owned: WeakSet[Owned] = WeakSet()
_sockets: WeakSet[socket.socket] = WeakSet()

#: Disowned objects live to the end of the process, because a finalizer, such as a transport's, would close the parent's
#: connections.
_kept: list[Owned] = []


def own(it: Owned) -> None:
    """Calls `disown` in every process that is forked while the object exists."""
    _owned.add(it)


def keep_from_children(sock: socket.socket) -> None:
    """Takes the socket away from every process that is forked while it is open."""
    _sockets.add(sock)


def inherited(what: str) -> RxNodesError:
    """Makes the error for a forked process that uses what its parent has opened."""
    return RxNodesError(
        f"{what} was opened by the process that this one was forked from, and can be used by that one only;"
        " open a project of its own here"
    )


def separate_poll(loop: asyncio.AbstractEventLoop) -> None:
    """Gives an inherited loop a poll of its own in the forked process.

    A fork shares Linux's epoll. If the child closed its copy of the loop, that would remove the parent's sockets from
    the epoll, and with them those that wake the parent's loop. It would never again notice another thread or a signal.
    """
    inner: Any = loop
    if isinstance(getattr(inner, "_selector", None), getattr(selectors, "EpollSelector", ())):
        _renew(inner._selector.fileno())  # noqa: SLF001
        inner._close_self_pipe()  # noqa: SLF001
        inner._make_self_pipe()  # noqa: SLF001
    elif hasattr(inner, "_get_backend_id") and hasattr(select, "epoll"):
        # uvloop
        _renew(inner._get_backend_id())  # noqa: SLF001


def _renew(poll: int) -> None:
    with select.epoll() as fresh:
        os.dup2(fresh.fileno(), poll, inheritable=False)


def guard(lock: Lock | RLock) -> None:
    """Delays a fork while another thread holds the lock, because in the child nobody would release it."""
    if CAN_FORK:
        os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)


def _take_away() -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    for sock in tuple(_sockets):
        if sock.fileno() >= 0:
            # The number stays in use. Otherwise it would soon be that of another file, which old code would then use.
            os.dup2(nothing, sock.fileno(), inheritable=False)
    os.close(nothing)
    for it in tuple(_owned):
        _kept.append(it)
        it.disown()
    _owned.clear()
    _sockets.clear()


if CAN_FORK:
    os.register_at_fork(after_in_child=_take_away)
