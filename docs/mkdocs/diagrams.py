"""Draws the Mermaid diagrams of the pages as SVG, when the site is built.

Mermaid itself is a script of three megabytes, which every reader of a page would load. What the pages need of it is
little: calls between rooms, and states. The text stays Mermaid, which repositories draw themselves.
"""

from __future__ import annotations

import re
from itertools import groupby
from operator import itemgetter
from typing import Any, Final
from xml.etree import ElementTree as ET

__all__ = ["drawn"]

#: A letter's width, and the heights of a line of text and of a step, in pixels.
LETTER: Final = 6.2
LINE: Final = 14
STEP: Final = 30

#: Where a sequence's participants stand.
COLUMN: Final = 124
HEAD: Final = 32

#: Where states stand, by their middles, and how large they are.
STATES: Final = {
    "IDLE": (138, 60),
    "RECONNECTING": (470, 60),
    "CONNECTING": (138, 230),
    "OPEN": (660, 230),
    "CLOSED": (138, 450),
    "CLOSING": (660, 450),
}
WIDTH, HEIGHT = 132, 30
SIZE: Final = (790, 480)
#: Where they are listed: how much lies between one and the next, and before what is written on a way.
STATE_STEP: Final = 38
GAP: Final = 36
#: From which state, to which one, and what is written on the way.
Edge = tuple[str, str, str]

#: The way from one state to another, and where its text is: the x and y of its first line, its anchor, and how many
#: letters a line of it has.
WAYS: Final = {
    ("[*]", "IDLE"): ("M138,16 V40", (20, 0, "start", 1)),
    ("IDLE", "CONNECTING"): ("M138,78 V210", (146, 150, "start", 20)),
    ("CONNECTING", "OPEN"): ("M204,230 H592", (420, 222, "middle", 40)),
    ("CONNECTING", "RECONNECTING"): ("M170,212 C180,130 270,60 402,60", (218, 18, "start", 30)),
    ("CONNECTING", "CLOSED"): ("M116,248 V430", (110, 340, "end", 15)),
    ("CONNECTING", "CLOSING"): ("M204,246 L592,438", (400, 258, "middle", 28)),
    ("OPEN", "RECONNECTING"): ("M660,212 C660,120 620,60 538,60", (632, 122, "end", 30)),
    ("OPEN", "CLOSING"): ("M660,248 V430", (652, 332, "end", 18)),
    ("OPEN", "CLOSED"): ("M592,246 L206,438", (350, 384, "start", 28)),
    ("RECONNECTING", "CLOSING"): ("M536,50 C720,30 765,150 765,260 C765,390 765,450 728,450", (758, 330, "end", 13)),
    ("RECONNECTING", "CONNECTING"): ("M450,78 C420,160 310,205 206,220", (365, 172, "end", 20)),
    ("CLOSING", "CLOSED"): ("M594,450 H206", (400, 466, "middle", 40)),
    ("CLOSED", "CONNECTING"): ("M160,432 V250", (168, 370, "start", 20)),
}


def drawn(source: str, *_: Any, **__: Any) -> str:
    """A diagram as SVG, as a formatter of pymdownx.superfences gives it."""
    kind, *lines = [line.strip() for line in source.strip().splitlines()]
    match kind:
        case "sequenceDiagram":
            root = _sequence(lines)
        case "stateDiagram-v2":
            root = _states(lines)
        case _:
            raise ValueError(f"nothing here draws a {kind}")
    return f'<div class="diagram">{ET.tostring(root, encoding="unicode")}</div>'


def _root(width: float, height: float, title: str) -> ET.Element:
    size = {"viewBox": f"0 0 {width:g} {height:g}", "style": f"width:{width:g}px"}
    root = ET.Element("svg", {"role": "img", "aria-label": title, **size})
    for name in ("call", "answer"):
        marker = {"id": f"tip-{name}", "viewBox": "0 0 8 8", "refX": "7", "refY": "4", "orient": "auto-start-reverse"}
        tip = _add(root, "marker", "", markerWidth=8, markerHeight=8, **marker)
        _add(tip, "path", "tip", d="M0,0 L8,4 L0,8 z")
    return root


def _add(parent: ET.Element, tag: str, kind: str, **attributes: float | str) -> ET.Element:
    named = {name.replace("_", "-"): it if isinstance(it, str) else f"{it:g}" for name, it in attributes.items()}
    return ET.SubElement(parent, tag, ({"class": kind} if kind else {}) | named)


def _write(parent: ET.Element, at: tuple[float, float], text: str, kind: str = "", anchor: str = "middle") -> None:
    _add(parent, "text", kind, x=at[0], y=at[1], text_anchor=anchor).text = text


# --- Calls between participants ---------------------------------------------------------------------------------------


def _sequence(lines: list[str]) -> ET.Element:
    names = [line.removeprefix("participant ") for line in lines if line.startswith("participant ")]
    arrows = [re.fullmatch(r"(\w+)(-{1,2})>>(\w+): (.+)", line) for line in lines[len(names) :]]
    at = {name: COLUMN * (number + 0.5) for number, name in enumerate(names)}
    width, height = COLUMN * len(names), HEAD + STEP * len(arrows) + 16
    root = _root(width, height, f"Calls between {', '.join(names)}")
    for name, x in at.items():
        _add(root, "line", "life", x1=x, x2=x, y1=HEAD, y2=height)
        _add(root, "rect", "node", x=x - COLUMN / 2 + 8, y=2, width=COLUMN - 16, height=HEAD - 6, rx=6)
        _write(root, (x, HEAD / 2 + 3), name, "name")
    for number, arrow in enumerate(arrows):
        if arrow is None:
            raise ValueError(f"no arrow: {lines[len(names) + number]}")
        source, dashes, target, text = arrow.groups()
        y = HEAD + STEP * (number + 1)
        kind = "call" if dashes == "-" else "answer"
        _add(root, "line", kind, x1=at[source], x2=at[target], y1=y, y2=y, marker_end=f"url(#tip-{kind})")
        half = len(text) * LETTER / 2 + 4
        middle = min(max((at[source] + at[target]) / 2, half), width - half)
        _write(root, (middle, y - 5), text)
    return root


# --- States -----------------------------------------------------------------------------------------------------------


def _lines(text: str, letters: int) -> list[str]:
    """A text in lines, which are divided at commas only."""
    lines = [""]
    for part in text.split(", "):
        if lines[-1] and len(lines[-1]) + len(part) > letters:
            lines.append("")
        lines[-1] += f"{part}, "
    return [line.removesuffix(" ") for line in lines[:-1]] + [lines[-1].removesuffix(", ")]


def _states(lines: list[str]) -> ET.Element:
    edges: list[Edge] = re.findall(r"^(\S+) --> (\w+)(?:: (.+))?$", "\n".join(lines), re.MULTILINE)
    if len(edges) < len(lines):
        raise ValueError(f"not all of these are ways from a state to another: {lines}")
    return _placed(edges) if {target for _, target, _ in edges} <= {*STATES} else _listed(edges)


def _placed(edges: list[Edge]) -> ET.Element:
    """The states of a connection, each at its place."""
    root = _root(*SIZE, "The states of a connection, and what leads from one to another")
    _add(root, "circle", "start", cx=138, cy=12, r=6)
    for source, target, text in edges:
        if (source, target) not in WAYS:
            raise ValueError(f"no way is drawn from {source} to {target}: add it to WAYS")
        way, (x, y, anchor, letters) = WAYS[source, target]
        _add(root, "path", "call", d=way, marker_end="url(#tip-call)")
        for number, part in enumerate(_lines(text, letters)):
            _write(root, (x, y + number * LINE), part, anchor=anchor)
    for name, middle in STATES.items():
        _draw_state(root, name, middle)
    return root


def _listed(edges: list[Edge]) -> ET.Element:
    """Any others: each with the ways that lead on from it, one below the other."""
    y = 0.0
    far = WIDTH + 2 * GAP + LETTER * max(len(text) for _, _, text in edges)
    root = _root(far + WIDTH + 2, 0, "States, and what leads from one to another")
    for source, group in groupby(edges, key=itemgetter(0)):
        ways = list(group)
        middle = y + STATE_STEP * len(ways) / 2
        if source == "[*]":
            _add(root, "circle", "start", cx=WIDTH - 6, cy=middle, r=6)
        else:
            _draw_state(root, source, (WIDTH / 2 + 1, middle))
        for number, (_, target, text) in enumerate(ways):
            at = y + STATE_STEP * (number + 0.5)
            way = f"M{WIDTH + 1},{middle:g} C{WIDTH + GAP},{middle:g} {WIDTH},{at:g} {WIDTH + GAP},{at:g} H{far - 2:g}"
            _add(root, "path", "call", d=way, marker_end="url(#tip-call)")
            _write(root, ((WIDTH + GAP + far) / 2 - 4, at - 4), text)
            _draw_state(root, target, (far + WIDTH / 2, at))
        y += STATE_STEP * len(ways) + GAP / 2
    root.set("viewBox", f"0 0 {far + WIDTH + 2:g} {y:g}")
    return root


def _draw_state(root: ET.Element, name: str, middle: tuple[float, float]) -> None:
    x, y = middle
    kind = f"node {name.lower()}"
    _add(root, "rect", kind, x=x - WIDTH / 2, y=y - HEIGHT / 2, width=WIDTH, height=HEIGHT, rx=10)
    _write(root, (x, y + 4), name, "name")
