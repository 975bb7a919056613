"""The command `rxnodes`: how a command is run, and how it ends. `parser` lists the commands.

A command's module is imported only when the command is run, so that each command starts quickly.

Exit statuses: 0 for success, 1 for failure, 2 for a command that cannot be understood, 130 after Ctrl+C and 143 after
SIGTERM.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Final

from rxnodes.cli import arguments
from rxnodes.cli.output import Output
from rxnodes.cli.parser import make_parser
from rxnodes.errors import RxNodesError

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

__all__ = ["main"]

_INTERRUPTED: Final = 130


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command.

    Args:
        argv: The arguments; by default the process's.

    Returns:
        The exit status.

    Raises:
        SystemExit: After `--help` and `--version`, and with 2 for arguments that cannot be understood.
    """
    try:
        return _main(argv)
    except KeyboardInterrupt:
        return _INTERRUPTED
    except RuntimeError as error:
        # Python 3.11 raises this for a Ctrl+C that interrupts the making of a class, as while a module is imported.
        if isinstance(error.__cause__, KeyboardInterrupt):
            return _INTERRUPTED
        raise


def _main(argv: Sequence[str] | None) -> int:
    parser = make_parser()
    options = parser.parse_args(argv)
    if options.command is None:
        parser.print_help(sys.stderr)
        return 2
    arguments.check_together(parser, options)
    out, err = Output(sys.stdout), Output(sys.stderr)
    status = _run(options, out, err)
    if out.failure is not None and not isinstance(out.failure, BrokenPipeError):
        err.line(f"rxnodes: cannot write to standard output: {out.failure.strerror}")
        return 1
    return status


def _run(options: argparse.Namespace, out: Output, err: Output) -> int:
    try:
        status: int = import_module(f"rxnodes.cli.{options.command}").run(options, out, err)
    except RxNodesError as error:
        err.lines(f"rxnodes: {error}")
        return 1
    except OSError as error:
        err.lines(f"rxnodes: {_in_words(error)}")
        return 1
    except SystemExit as end:
        if not isinstance(end.code, str):
            return end.code or 0
        # A program may exit with a text, which Python would print.
        err.lines(end.code)
        return 1
    return status


def _in_words(error: OSError) -> str:
    """The system's words, behind the name of the file if there is one."""
    from rxnodes.transport.reasons import system_reason  # noqa: PLC0415 - few commands fail

    reason = system_reason(error) or str(error)
    return reason if error.filename is None else f"{error.filename}: {reason}"
