"""Checks the arguments of commands. The messages of argparse would show the value, which may be secret."""

from __future__ import annotations

import argparse
from typing import Final

from rxnodes.lifecycle.states import check_close, is_close_code

__all__ = ["check_together", "close_code", "function", "header", "message", "port", "reason", "servers"]

_LAST_PORT: Final = 65535


def message(text: str) -> str:
    """A text that can be sent."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise argparse.ArgumentTypeError("the text is not valid UTF-8") from None
    return text


def header(text: str) -> tuple[str, str]:
    """A header's name and value."""
    name, colon, value = text.partition(":")
    if not colon:
        raise argparse.ArgumentTypeError("must be a name, a colon and a value, such as 'Authorization: Bearer ...'")
    return name.strip(), value.strip()


def port(text: str) -> int:
    """A port."""
    if not (text.isdecimal() and int(text) <= _LAST_PORT):
        raise argparse.ArgumentTypeError(f"must be a whole number from 0 to {_LAST_PORT}")
    return int(text)


def close_code(text: str) -> int:
    """A code that a Close frame may carry."""
    if not (text.isdecimal() and is_close_code(int(text))):
        raise argparse.ArgumentTypeError("must be 1000 to 1003, 1007 to 1014, or 3000 to 4999")
    return int(text)


def reason(text: str) -> str:
    """A reason that fits into a Close frame."""
    try:
        check_close(1000, text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def servers(text: str) -> str:
    """The URL of a fleet's servers; empty: that of the settings."""
    if text and "://" not in text:
        raise argparse.ArgumentTypeError("must be a URL such as nats://host:4222; the settings folder stands before it")
    return text


def function(text: str) -> tuple[str, str]:
    """A module, and a function in it."""
    module, _, name = text.partition(":")
    if not all(part.isidentifier() for dotted in (module, name) for part in dotted.split(".")):
        raise argparse.ArgumentTypeError("must be a module, a colon and a function in it, such as app:main")
    return module, name


def check_together(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Refuses an option that does nothing without another option, as the parser does."""
    if getattr(options, "token_file", None) is not None and options.inspect is None:
        parser.error("--token-file goes with --inspect")
