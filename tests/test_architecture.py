"""docs/architecture.md shows the code as it is: its rooms, its layers, its pictures, and where to look."""

from __future__ import annotations

import ast
import asyncio
import re
import sys
import tomllib
from pathlib import Path

import pytest

from rxnodes import Project, Trigger
from rxnodes.testing import WebSocketServer
from rxnodes.websocket import client_send, client_stop, on_receive, on_stop
from rxnodes.wire import IS_COMPILED

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs/architecture.md").read_text()


def block(heading, language):
    """The first block of a language below a heading."""
    return re.search(rf"^## {heading}\n.*?^```{language}\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)[1]


# --- The rooms --------------------------------------------------------------------------------------------------------


def test_every_room_is_shown():
    shown = re.findall(r"^  (\S+)  +\S", block("The rooms", "text"), re.MULTILINE)
    rooms = {f"{path.parent.name}/" for path in ROOT.glob("rxnodes/*/__init__.py")}
    modules = {path.name for path in ROOT.glob("rxnodes/*.py") if not path.name.startswith("__")}
    assert len(shown) == len(set(shown))
    assert {*shown} == rooms | modules
    tests = {f"{path.name}/" for path in ROOT.glob("tests/*")}
    tests |= {path.name.removeprefix("test_") for path in ROOT.glob("tests/test_*.py")}
    assert {*shown} - tests == set(), "has no tests in a place of the same name"


def test_the_layers_are_those_that_are_held():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    layers = next(it["layers"] for it in settings["tool"]["importlinter"]["contracts"] if it["type"] == "layers")
    assert block("What imports what", "text").splitlines() == [layer.replace("rxnodes.", "") for layer in layers]


# --- Where to look ----------------------------------------------------------------------------------------------------

SPANS = re.findall(r"`([^`\n]+)`", TEXT)
PATHS = sorted({span for span in SPANS if re.fullmatch(r"rxnodes/[\w/]*(\.py)?", span)})
NAMES = sorted({span for span in SPANS if re.fullmatch(r"[a-z_]+\.\w+", span)})


def test_every_path_leads_somewhere():
    is_there = {True: Path.is_dir, False: Path.is_file}
    assert [path for path in PATHS if not is_there[path.endswith("/")](ROOT / path)] == []


def test_every_name_is_defined_in_its_module_whose_path_is_named():
    modules = {Path(path).stem: ROOT / path for path in PATHS if path.endswith(".py")}
    named = [(name, *name.split(".")) for name in NAMES]
    assert [name for name, module, own in named if own not in defined_in(modules[module])] == []


def defined_in(file):
    names = set()
    for node in ast.parse(file.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.AnnAssign):
            names.add(node.target.id)
        elif isinstance(node, ast.Assign):
            names |= {part.id for target in node.targets for part in getattr(target, "elts", [target])}
    return names


# --- The pictures -----------------------------------------------------------------------------------------------------

LIFECYCLE = {name for path in ROOT.glob("rxnodes/lifecycle/*.py") for name in defined_in(path)}


def room_of(frame):
    """The room that a call's module lies in; of a module that is not ours, its package."""
    module = frame.f_globals["__name__"] if frame is not None else ""
    return module.removeprefix("rxnodes.").partition(".")[0]


class Trace:
    """The calls from one room into another, in order, while it is entered: rooms, function, types of what it is given."""

    def __init__(self):
        self.calls = []

    def _note(self, frame, event, _):
        rooms = room_of(frame.f_back), room_of(frame)
        if event == "call" and rooms[0] != rooms[1]:
            given = {type(value).__name__ for value in frame.f_locals.values()}
            self.calls.append((*rooms, frame.f_code.co_name, given))

    def __enter__(self):
        sys.setprofile(self._note)
        return self

    def __exit__(self, *_):
        sys.setprofile(None)


def arrows_of(picture):
    """The picture's calls, and what comes of them: each as two participants and a text."""
    lines = [line.strip() for line in picture.splitlines()]
    assert lines[0] == "sequenceDiagram"
    participants = {line.removeprefix("participant ") for line in lines if line.startswith("participant ")}
    arrows = [re.fullmatch(r"(\w+)(-{1,2}>>)(\w+): (.+)", line) for line in lines[1 + len(participants) :]]
    assert all(arrows)
    assert {arrow[side] for arrow in arrows for side in (1, 3)} == participants
    return arrows


def check(picture, trace):
    calls = iter(trace.calls)
    for arrow in arrows_of(picture):
        source, kind, target, text = arrow.groups()
        if kind == "->>":
            name, given = re.fullmatch(r"(\w+)\((\w*)\)", text).groups()
            is_so = any(
                (source, target, name) == call[:3] and (not given or given in call[3])
                for call in calls  # which goes on behind the one that was found
            )
            assert is_so, f"no call from {source} to {target}, in this order: {text}"
        elif source == "lifecycle":
            assert {*re.findall(r"\b[A-Z][a-z]+(?:[A-Z][a-z]+)*\b", text)} <= LIFECYCLE


async def goodbye(peer):
    await peer.accept()
    await peer.receive_message()
    await peer.send_text("hello")
    await peer.receive_message()
    await peer.expect_close()
    await peer.send_text("one more thing")
    await peer.send_close(1000, "goodbye")


@pytest.mark.skipif(IS_COMPILED, reason="the calls of compiled modules cannot be traced")
async def test_the_ways_are_those_of_the_pictures():
    # The server has a thread of its own, so that nothing of its is traced.
    with WebSocketServer(goodbye) as server:
        async with Project(websocket={"chat": server.url}) as project:
            chat = project.websocket("chat")
            stop, answered = Trigger(), asyncio.Event()
            chat.sends.subscribe(lambda _: answered.set())
            project.subscribe(
                on_receive(chat).pipe(client_send(chat, "hi", tag=str)),
                stop.pipe(client_stop(chat)),
                on_stop(chat),
            )
            chat.start()
            await chat.wait_started()
            with Trace() as message:
                chat.send("good morning")
                await answered.wait()
            with Trace() as ending:
                stop.fire()
                await chat.wait_stopped()
    check(block("The way of a message", "mermaid"), message)
    check(block("The way of a stop", "mermaid"), ending)
