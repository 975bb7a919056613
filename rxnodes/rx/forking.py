"""Keeps a forked process away from the sockets and event loops of its parent.

A fork copies the program but not its threads, and shares the open descriptors. If the child wrote to a socket, shut it
down, or removed it from the parent's poll, the parent's connection would suffer. So before anything runs in the child,
rxnodes takes away what the parent has open.
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

__all__ = ["Owned", "guard", "inherited", "keep_from_children", "own", "part"]

#: Windows has no fork.
CAN_FORK: Final = hasattr(os, "register_at_fork")


class Owned(Protocol):
    """An object that is of use only in the process that made it."""

    def disown(self) -> None:
        """Called in a forked process before anything else, so that this copy does nothing there."""
        ...


_owned: WeakSet[Owned] = WeakSet()
_sockets: WeakSet[socket.socket] = WeakSet()

#: Disowned objects are kept alive to the end of the process, because finalizers, such as that of a transport, would
#: close the parent's connections.
_kept: list[Owned] = []


def own(it: Owned) -> None:
    """Has `disown` called in every process that is forked while the object exists."""
    _owned.add(it)


def keep_from_children(sock: socket.socket) -> None:
    """Takes the socket away from every process that is forked while it is open."""
    _sockets.add(sock)


def inherited(what: str) -> RxNodesError:
    """The error for a forked process that uses what its parent has opened."""
    return RxNodesError(
        f"{what} was opened by the process that this one was forked from, and can be used by that one only;"
        " open a project of its own here"
    )


def part(loop: asyncio.AbstractEventLoop) -> None:
    """Gives a loop that a forked process has inherited a poll of its own.

    A fork shares Linux's epoll. Closing the loop in the child would remove the parent's sockets from it. The sockets
    that wake the parent's loop are among them, so it would never again notice another thread or a signal.
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
            # The number stays in use. Otherwise whoever remembers it would reach what is opened next.
            os.dup2(nothing, sock.fileno(), inheritable=False)
    os.close(nothing)
    for it in tuple(_owned):
        _kept.append(it)
        it.disown()
    _owned.clear()
    _sockets.clear()


if CAN_FORK:
    os.register_at_fork(after_in_child=_take_away)
