"""Runs examples/tk_window.py as its user would: clicks, types, closes. Started by test_tk_window.py as a process.

python tk_driver.py SCRIPT [URL]
"""

import importlib.util
import sys
import tkinter as tk
import traceback
from pathlib import Path


class Window(tk.Tk):
    """The window, which plays a script: a generator that yields what is to be so before it goes on."""

    def __init__(self):
        super().__init__()
        self._script = SCRIPTS[sys.argv[1]](self)
        # A window that is not on the screen yet cannot have the focus, and keys go to whoever has.
        self.after_idle(self._play, self.winfo_viewable)

    def _play(self, is_so):
        if is_so():
            is_so = next(self._script, None)
        if is_so is not None:
            self.after(5, self._play, is_so)

    def report_callback_exception(self, *error):
        """Ends the program, which would otherwise wait for a script that has failed."""
        traceback.print_exception(*error)
        self.destroy()

    def _child(self, kind):
        return next(child for child in self.winfo_children() if type(child) is kind)

    def shows(self, state, *lines):
        """Whether this is what is to be seen by now."""
        return lambda: (
            self._child(tk.Label)["text"] == f"chat is {state}" and self._child(tk.Listbox).get(0, "end") == lines
        )

    def click(self, label):
        button = self._child(tk.Button)
        assert button["text"] == label, f"the button says {button['text']}"
        button.invoke()

    def type(self, text):
        entry = self._child(tk.Entry)
        entry.insert(0, text)
        entry.focus_force()
        self.update()
        entry.event_generate("<Return>")
        assert entry.get() == ""


def chat(window):
    """Connects, sends, disconnects, connects again, and closes the window while the connection is open."""
    yield window.shows("idle")
    window.type("too early")
    yield window.shows("idle", "('chat' is idle, not open: message not sent)")
    window.click("Connect")
    yield window.shows("open", "('chat' is idle, not open: message not sent)")
    window.type("hello")
    yield window.shows("open", "('chat' is idle, not open: message not sent)", "hello")
    window.click("Disconnect")
    yield window.shows("closed", "('chat' is idle, not open: message not sent)", "hello", "(over: 1000 )")
    window.click("Connect")
    yield window.shows("open", "('chat' is idle, not open: message not sent)", "hello", "(over: 1000 )")
    print("all seen")
    window.destroy()


def close_while_connecting(window):
    """The server never answers."""
    yield window.shows("idle")
    window.click("Connect")
    yield window.shows("connecting")
    window.destroy()


def interrupted(window):
    """Shows that it is open, and stays so."""
    yield window.shows("idle")
    window.click("Connect")
    yield window.shows("open")
    print("open")


SCRIPTS = {script.__name__: script for script in (chat, close_while_connecting, interrupted)}


def main():
    spec = importlib.util.spec_from_file_location("tk_window", Path(__file__).parents[2] / "examples/tk_window.py")
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    tk.Tk = Window
    example.main(*sys.argv[2:])


main()
