"""Runs programs, each in a process that is forked here, where what they all import is imported already.

Each line of standard input is a program, with what is in its environment besides. Its output goes into files beside it,
and its exit status is printed.
"""

from __future__ import annotations

import gc
import json
import os
import runpy
import sys
from pathlib import Path

import rxnodes.testing
import rxnodes.websocket
from rxnodes import Project

# The testing kit imports its parts where they are first used, and a project what its settings need.
for name in rxnodes.testing.__all__:
    getattr(rxnodes.testing, name)
Project(websocket={"chat": "ws://127.0.0.1/"})


def main():
    # What is here stays. A child that looked through it, at its end for one, would have a copy made of it all.
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        program, variables = json.loads(line)
        child = os.fork()
        if child == 0:
            become(program, variables)
            return
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


def become(program, variables):
    """Is from here on what `python program` is, in the folder where that lies."""
    folder = str(Path(program).parent)
    os.chdir(folder)
    os.environ.update(variables)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, kind in ((1, "out"), (2, "err")):
        os.dup2(os.open(f"{program}.{kind}", os.O_WRONLY | os.O_CREAT), number)
    sys.argv = [program]
    sys.path[0] = folder
    runpy.run_path(program, run_name="__main__")


if __name__ == "__main__":
    main()
