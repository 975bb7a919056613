"""The line that is being typed on a terminal. It stays at the bottom, below everything that is printed."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Self

from prompt_toolkit import PromptSession
from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import has_focus
from prompt_toolkit.input import create_input
from prompt_toolkit.input.typeahead import get_typeahead
from prompt_toolkit.key_binding import KeyBindings
from prompt_toolkit.keys import Keys
from prompt_toolkit.output import create_output

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

    from prompt_toolkit.key_binding import KeyPressEvent

__all__ = ["Prompt"]


class Prompt:
    """Lets lines be typed while an asynchronous context manager is entered.

    Ctrl+C is SIGINT, as it is without a prompt. Ctrl+D on an empty line ends the typing.

    Args:
        keyboard: The terminal to read.
        screen: The terminal to draw it on.
        on_line: Called with each line that was typed.
        on_end: Called when Ctrl+D has ended the typing.
    """

    def __init__(
        self, keyboard: TextIO, screen: TextIO, on_line: Callable[[str], object], on_end: Callable[[], object]
    ) -> None:
        self._on_line = on_line
        self._on_end = on_end
        output = create_output(screen)
        # It would ask the terminal where the cursor is; only menus need to know.
        output.enable_cpr = False  # type: ignore[attr-defined] # pyright: ignore[reportAttributeAccessIssue]
        self._app = PromptSession[None](
            "> ",
            key_bindings=self._keys(),
            input=create_input(keyboard),
            output=output,
            erase_when_done=True,
            reserve_space_for_menu=0,
            enable_suspend=True,
        ).app
        self._task: asyncio.Task[None] | None = None

    def _keys(self) -> KeyBindings:
        keys = KeyBindings()

        @keys.add("enter", filter=has_focus(DEFAULT_BUFFER))
        def _enter(event: KeyPressEvent) -> None:  # pyright: ignore[reportUnusedFunction]
            # A session would end with each line. This one goes on: otherwise the terminal would echo keys between two
            # lines into the output.
            text = event.current_buffer.text
            event.current_buffer.reset(append_to_history=True)
            for line in text.split("\n"):
                self._on_line(line)

        @keys.add("c-c")
        def _interrupt(_event: KeyPressEvent) -> None:  # pyright: ignore[reportUnusedFunction]
            signal.raise_signal(signal.SIGINT)

        return keys

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._run())
        return self

    async def _run(self) -> None:
        try:
            # The runner of the program handles SIGINT already.
            await self._app.run_async(handle_sigint=False, set_exception_handler=False)
        except EOFError:
            self._on_end()
            # Keys behind Ctrl+D are kept for another prompt, and there will be none.
            if any(press.key == Keys.ControlC for press in get_typeahead(self._app.input)):
                signal.raise_signal(signal.SIGINT)

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        await asyncio.wait({self._task})

    def make_way(self) -> None:
        """Takes the prompt off the screen before a line is printed. It comes back in a later turn of the loop."""
        if self._app.renderer.last_rendered_screen is not None:
            self._app.renderer.erase()
        self._app.invalidate()
