"""`rxnodes demo`."""

from __future__ import annotations

import re
import signal

import pytest
from commands import child, read_until

from rxnodes.cli import demo
from rxnodes.cli import main as cli
from rxnodes.testing import vanish


def rows_of(text):
    """The rows of a timeline: mark, milliseconds, state, node and what it did."""
    pattern = r"^(.) +([0-9.]+)  (\w+) +((?:On )?WebSocket(?: Client)? \w+) +(.*)$"
    return re.findall(pattern, text, re.MULTILINE)


def test_demo_shows_every_node_in_order(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    assert cli.main(["demo"]) == 0
    printed = capsys.readouterr()
    assert not printed.err
    rows = rows_of(printed.out)
    assert [(mark, state, node) for mark, _, state, node, _ in rows] == [
        (" ", "connecting", "WebSocket Client Start"),
        (" ", "open", "On WebSocket Start"),
        (" ", "open", "WebSocket Client Send"),
        (" ", "open", "On WebSocket Receive"),
        ("┌", "closing", "WebSocket Client Stop"),
        ("│", "closing", "On WebSocket Receive"),
        ("│", "closing", "On WebSocket Receive"),
        ("│", "closing", "On WebSocket Receive"),
        ("└", "closed", "On WebSocket Stop"),
        (" ", "closed", "WebSocket Client Send"),
        (" ", "closed", "On WebSocket Error"),
    ]
    times = [float(when) for _, when, *_ in rows]
    assert times == sorted(times)
    assert times[-1] < 2000
    words = [what for *_, what in rows]
    assert words[3] == '"hello"'
    assert words[5:8] == ['"one more thing"', '"and another"', '"that was all"']
    assert words[8] == 'over: 1000 "goodbye", clean'
    assert "message not sent" in words[10]


def test_demo_draws_what_happened_and_says_how_long_the_closing_took(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    assert cli.main(["demo"]) == 0
    text, _, picture = capsys.readouterr().out.partition("\ndemo\n")
    assert "3 messages still came in between" in picture
    assert "Close 1000 “goodbye”" in picture
    assert "closing" in next(line for line in picture.splitlines() if line.startswith("state"))
    at = {node: float(when) for _, when, _, node, _ in rows_of(text)}
    said = re.search(r"([0-9.]+) ms later\. The 3 messages", " ".join(picture.split()))
    took = at["On WebSocket Stop"] - at["WebSocket Client Stop"]
    assert float(said[1]) == pytest.approx(took, abs=0.11)
    assert took > 150
    after = picture.partition("Look next at:")[2]
    assert "rxnodes draw demo.jsonl" in after
    assert "README" in after


@pytest.mark.parametrize("columns", [30, 60, 80])
def test_demo_fits_any_terminal(hurried, columns, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    assert cli.main(["demo"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) < columns
    assert [line for line in lines if line != line.rstrip()] == []


@pytest.mark.slow
def test_demo_runs_anywhere_as_a_module():
    with child("demo", env={"PYTHONIOENCODING": "ascii", "RXNODES_NONSENSE": "1"}) as process:
        printed, errors = process.communicate()
    assert process.returncode == 0
    assert not errors
    assert printed.isascii()
    assert [row[0] for row in rows_of(printed)] == [" ", " ", " ", " ", "+", "|", "|", "|", "+", " ", " "]


def test_demo_that_goes_wrong_says_so(capsys, monkeypatch):
    monkeypatch.setattr(demo, "_slow_to_close", vanish)
    assert cli.main(["demo"]) == 1
    printed = capsys.readouterr().out
    assert "not how the demo should end" in printed
    assert "ms later" not in printed


@pytest.mark.slow
def test_a_reader_that_has_seen_enough_of_the_demo():
    with child("demo") as process:
        assert next(process.stdout).startswith("rxnodes")
        process.stdout.close()
        assert not process.stderr.read()
        assert process.wait() == 0


@pytest.mark.slow
def test_ctrl_c_ends_the_demo():
    with child("demo") as process:
        read_until(process.stdout, "WebSocket Client Stop")
        process.send_signal(signal.SIGINT)
        rest = process.stdout.read()
        assert "On WebSocket Stop" in rest
        assert "Look next" not in rest
        assert not process.stderr.read()
        assert process.wait() == 130
