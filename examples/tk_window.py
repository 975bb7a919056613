"""A window with a chat: its state, what comes, an entry to send, and a button that connects and disconnects.

    python examples/tk_window.py                      with an echo server of its own
    python examples/tk_window.py wss://chat.example/

The project runs in a thread of its own, so that neither it nor the window holds up the other. Commands may come from
any thread; widgets are for Tk's own. So what the connection tells is put into a queue, which Tk empties at intervals.
"""

from __future__ import annotations

import contextlib
import queue
import signal
import sys
import tkinter as tk
from typing import TYPE_CHECKING, TypeVar

from reactivex import operators as ops

from rxnodes import Connection, ConnectionState, Project
from rxnodes.testing import WebSocketServer, echo
from rxnodes.websocket import on_error, on_receive, on_stop

if TYPE_CHECKING:
    from collections.abc import Callable

    from reactivex import Observable

T = TypeVar("T")

#: How often Tk looks for what has come, in milliseconds.
INTERVAL = 20


class ChatWindow:
    """A connection, shown in a window."""

    def __init__(self, root: tk.Tk, project: Project, chat: Connection) -> None:
        self._root = root
        self._chat = chat
        self._inbox: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()

        self._state = tk.Label(root, anchor="w")
        self._log = tk.Listbox(root, width=60, height=12)
        self._entry = tk.Entry(root)
        self._entry.bind("<Return>", self._send)
        self._button = tk.Button(root, width=10, command=self._toggle)
        self._state.pack(fill="x")
        self._log.pack(fill="both", expand=True)
        self._entry.pack(side="left", fill="x", expand=True)
        self._button.pack(side="right")

        project.subscribe(
            chat.states.pipe(self._in_tk(self._show_state)),
            on_receive(chat).pipe(self._in_tk(self._show)),
            on_error(chat).pipe(ops.map(lambda event: f"({event.message})"), self._in_tk(self._show)),
            on_stop(chat).pipe(ops.map(lambda end: f"(over: {end.code} {end.reason})"), self._in_tk(self._show)),
        )
        self._empty_inbox()

    def _in_tk(self, show: Callable[[T], None]) -> Callable[[Observable[T]], Observable[T]]:
        """As `do_action`, but in Tk's thread."""
        return ops.do_action(lambda value: self._inbox.put(lambda: show(value)))

    def _empty_inbox(self) -> None:
        self._root.after(INTERVAL, self._empty_inbox)
        while not self._inbox.empty():
            self._inbox.get()()

    def _show_state(self, state: ConnectionState) -> None:
        self._state["text"] = f"{self._chat.name} is {state}"
        self._button["text"] = "Connect" if state in (ConnectionState.IDLE, ConnectionState.CLOSED) else "Disconnect"

    def _show(self, line: str) -> None:
        self._log.insert("end", line)
        self._log.see("end")

    def _toggle(self) -> None:
        if self._button["text"] == "Connect":
            self._chat.start()
        else:
            self._chat.stop()

    def _send(self, _event: object) -> None:
        self._chat.send(self._entry.get())
        self._entry.delete(0, "end")


def main(url: str | None = None) -> None:
    """Shows the window until it is closed (or Ctrl+C comes), and then closes the connection in order."""
    with contextlib.ExitStack() as stack:
        if url is None:
            url = stack.enter_context(WebSocketServer(echo)).url
        project = stack.enter_context(Project(websocket={"chat": {"url": url, "close_timeout": 2}}))
        chat = project.websocket("chat")
        root = tk.Tk()
        root.title("rxnodes")
        ChatWindow(root, project, chat)
        # A KeyboardInterrupt would be lost where it came within a callback: Tk prints it, and goes on.
        signal.signal(signal.SIGINT, lambda _number, _frame: root.quit())
        root.mainloop()
    print(f"the window is closed, and {chat.name} is {chat.state}")


if __name__ == "__main__":
    main(*sys.argv[1:])
