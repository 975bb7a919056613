"""What the documentation shows is so: its programs, outputs, settings, commands, tables, links and examples."""

from __future__ import annotations

import ast
import asyncio
import contextlib
import doctest
import functools
import html
import importlib
import importlib.util
import inspect
import json
import re
import shlex
import signal
import sys
import tomllib
from collections import defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import aiohttp
import pytest
import trustme
import websockets
from programs import PATIENCE, ForkServer, environment, needs_fork, running
from pydantic import BaseModel

import rxnodes
import rxnodes.recording
import rxnodes.testing
import rxnodes.websocket
from rxnodes import ConnectError, Initiator, Project, SettingsError, settings
from rxnodes.cli.main import main
from rxnodes.fleet.settings import FleetSettings
from rxnodes.lifecycle.machine import TABLE, Phase
from rxnodes.project.plugin_settings import installed_plugins
from rxnodes.recording import diagrams
from rxnodes.testing import (
    WebSocketServer,
    close_with,
    echo,
    hang_up,
    never_answer_close,
    never_answer_handshake,
    peer_scripts,
    refuse,
)
from rxnodes.websocket.settings import ConnectionSettings, ReconnectSettings, SendQueueSettings, TlsSettings

ROOT = Path(__file__).parents[1]
DOCS = sorted(page.relative_to(ROOT).as_posix() for page in (ROOT / "docs").rglob("*.md"))
OTHERS = sorted({page.name for page in ROOT.glob("*.md")} - {"README.md"})
PAGES = ["README.md", *DOCS, "examples/README.md", *OTHERS]
TEXTS = {page: (ROOT / page).read_text() for page in PAGES}

# --- The pages --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        files: Those of settings folders, as the blocks so far show them.
        is_output: Whether nothing stands between the block before and this one.
        follower: The block that comes next.
    """

    page: str
    line: int
    language: str
    text: str
    files: dict[str, str]
    is_output: bool
    follower: Block | None = None


def blocks_of(page):
    found = []
    files = {}
    end = 0
    for match in re.finditer(r"^```(\w*)\n(.*?)^```$\n*", TEXTS[page], re.DOTALL | re.MULTILINE):
        line = TEXTS[page].count("\n", 0, match.start()) + 1
        language, text = match[1], match[2]
        if language == "toml":
            name = re.match(r"# ((settings|draft)/[\w.]+)\n", text)
            assert name, f"{page}:{line}: the first line of a toml block says which file it is"
            files = {**files, name[1]: text}
        found.append(Block(page, line, language, text, files, language == "text" and match.start() == end))
        end = match.end()
    follower = None
    for block in reversed(found):
        follower = replace(block, follower=follower)
        yield follower


BLOCKS = [block for page in PAGES for block in blocks_of(page)]


def blocks(language):
    return [pytest.param(block, id=f"{block.page}:{block.line}") for block in BLOCKS if block.language == language]


def rows_of(page, heading):
    """The rows of the table that begins with these cells; each row as its cells."""
    lines = TEXTS[page].splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith(f"| {heading} |")]
    assert starts, f"{page} has no table that begins with {heading!r}"
    rows = []
    for start in starts:
        for line in lines[start + 2 :]:
            if not line.startswith("|"):
                break
            rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def test_every_language_is_one_that_is_checked_here_or_elsewhere():
    # Diagrams are compared in tests/lifecycle/test_diagram.py; installing needs a network, and is what .ci/run does.
    assert {block.language for block in BLOCKS} <= {"python", "text", "console", "toml", "sh", "mermaid"}


@pytest.mark.parametrize("page", DOCS)
def test_a_page_begins_with_when_one_needs_it(page):
    title, need = TEXTS[page].split("\n\n")[:2]
    assert title.startswith("# ")
    assert re.fullmatch(r"Read this page when (?:[^.]|\.(?=\w))*\.", need), "one sentence, in a paragraph of its own"


def test_the_documentation_has_a_table_of_all_its_pages():
    targets = [re.sub(r"^.*\]\((.*)\)$", r"docs/\1", cells[0]) for cells in rows_of("docs/README.md", "Page")]
    assert len(targets) == len({*targets})
    assert {*targets} >= {*DOCS, "docs/../CHANGELOG.md", "docs/../examples/README.md"} - {"docs/README.md"}
    assert "](docs/README.md)" in TEXTS["README.md"]


def test_the_readme_is_short():
    assert len(TEXTS["README.md"].splitlines()) <= 190


# --- Programs and commands --------------------------------------------------------------------------------------------

#: What differs from run to run, and what is compared in its place. All else is compared as it is.
MASKS = [
    (r"\b\d\d:\d\d:\d\d\.\d{3}\b", "<time of day>"),
    (r"\b\d+(\.\d+)? ms\b", "<n> ms"),
    (r"\bin \d+\.\d s\b", "in <n> s"),
    (r"\bport \d+\b", "port <n>"),
    (r"\b127\.0\.0\.1:\d+\b", "127.0.0.1:<n>"),
    (r"/#[\w-]{43}$", "/#<token>"),
    (r"^rxnodes \d+\.\d+\.\d+\S*:", "rxnodes <version>:"),
    (r"^([┌│└]?) +\d+\.\d  ", r"\1 <n>  "),
]


def masked(output):
    for pattern, mask in MASKS:
        output = re.sub(pattern, mask, output, flags=re.MULTILINE)
    return output


def is_shown(shown, printed):
    """Whether the page shows what was printed. A line "..." stands for any lines."""
    pattern = re.escape(masked(shown)).replace(re.escape("...\n"), r"(?:.*\n)*")
    return re.fullmatch(pattern, masked(printed)) is not None


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """The files that the settings of the pages name."""
    authority = trustme.CA()
    files = tmp_path_factory.mktemp("certificates")
    authority.cert_pem.write_to_path(files / "ca.pem")
    authority.issue_cert("client.example").private_key_and_cert_chain_pem.write_to_path(files / "client.pem")
    return files


@pytest.fixture
def workshop(tmp_path, certificates):
    """Lays out the settings folders that a block sees, and gives the folder around them."""

    def lay_out(block):
        for name, text in block.files.items():
            file = tmp_path / name
            file.parent.mkdir(exist_ok=True)
            file.write_text(text)
            for certificate in certificates.iterdir():
                (file.parent / certificate.name).write_bytes(certificate.read_bytes())
        return tmp_path

    return lay_out


#: These are the files of examples/, which have tests of their own, with servers.
PROGRAMS = [block for block in blocks("python") if not block.id.startswith("docs/recipes/")]


@pytest.fixture(scope="module")
def fork_server():
    with ForkServer(COLUMNS="80") as server:
        yield server


@needs_fork
@pytest.mark.slow
@pytest.mark.parametrize("block", PROGRAMS)
def test_a_program_prints_what_the_page_shows(block, workshop, fork_server):
    folder = workshop(block)
    tests = [node.name for node in ast.parse(block.text).body if getattr(node, "name", "").startswith("test_")]
    program = folder / "program.py"
    program.write_text(block.text + "".join(f"\n{test}()\n" for test in tests))
    output = block.follower.text if block.follower is not None and block.follower.is_output else ""
    assert tests or output, "a program shows what it prints, or is a test"
    with WebSocketServer(echo) as server:
        variables = {"RXNODES_WEBSOCKET__CONNECTIONS__CHAT__URL": server.url} if "load(" in block.text else {}
        printed = fork_server.run(program, **variables)
    assert is_shown(output, printed), printed


@dataclass(frozen=True)
class Command:
    """A command of a console block, and what follows it."""

    words: list[str]
    variables: dict[str, str]
    output: str

    @property
    def is_interrupted(self):
        return "^C\n" in self.output

    @property
    def is_typed_at(self):
        return "\n> " in self.output


def commands_of(block):
    first, *texts = re.split(r"^\$ ", block.text, flags=re.MULTILINE)
    assert first == "", f"{block.page}:{block.line}: a console block begins with a command"
    for text in texts:
        line, _, output = text.partition("\n")
        words = shlex.split(line)
        variables = {}
        while "=" in words[0]:
            name, _, variables[name] = words.pop(0).partition("=")
        yield Command(words, variables, output)


@pytest.mark.slow
@pytest.mark.parametrize("block", blocks("console"))
async def test_a_command_prints_what_the_page_shows(block, workshop):
    folder = workshop(block)
    for command in commands_of(block):
        if command.words[0] == "cat":
            # A file of the settings folder, which from here on is there.
            file = folder / command.words[1]
            file.parent.mkdir(exist_ok=True)
            file.write_text(command.output)
        else:
            assert command.words[0] == "rxnodes"
            printed = await run_command(command, folder)
            assert is_shown(command.output.replace("^C\n", ""), printed), printed


async def run_command(command, folder):
    """What a command prints, to standard output and error together, as on a terminal."""
    async with WebSocketServer(echo) as server:
        if command.is_typed_at:
            return await asyncio.to_thread(type_at, command, server.url)
        variables = {"RXNODES_WEBSOCKET__CONNECTIONS__CHAT__URL": server.url} if command.is_interrupted else {}
        env = environment(**{"COLUMNS": "80", "PYTHONUNBUFFERED": "1", **variables, **command.variables})
        words = [sys.executable, "-m", "rxnodes", *command.words[1:]]
        nothing, both = asyncio.subprocess.DEVNULL, asyncio.subprocess.STDOUT
        async with running(*words, cwd=folder, env=env, stdin=nothing, stderr=both) as process:
            printed = b""
            if command.is_interrupted:
                for _ in command.output.partition("^C\n")[0].splitlines():
                    printed += await process.stdout.readline()
                process.send_signal(signal.SIGINT)
            printed += await process.stdout.read()
            await process.wait()
    return printed.decode()


def type_at(command, url):
    """What is on the terminal after the lines that the page shows behind "> " were typed, and Ctrl+C."""
    # Here, because Windows has none.
    from terminals import Terminal

    words = [word.replace("ws://127.0.0.1:8080/", url) for word in command.words[1:]]
    with Terminal(*words, columns=120) as terminal:
        for number, line in enumerate(command.output.splitlines()[:-2]):
            if line.startswith("> "):
                terminal.type(line.removeprefix("> ") + "\r")
            # Below them all is the line that can be typed.
            terminal.see(lambda lines, least=number + 2: len(lines) >= least, line)
        terminal.type("\x03")
        terminal.wait()
        return "\n".join(terminal.lines)


USAGES = [re.sub("^`rxnodes |`$", "", cells[0]) for cells in rows_of("docs/command-line.md", "Command")]


def test_the_page_names_every_command(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    commands = re.findall(r"^    (\w+)  ", capsys.readouterr().out.partition("COMMAND\n")[2], re.MULTILINE)
    assert [usage.split()[0] for usage in USAGES] == commands


@pytest.mark.parametrize("usage", USAGES)
def test_a_command_takes_the_options_that_the_page_names(usage, capsys):
    with pytest.raises(SystemExit) as exited:
        main([usage.split()[0], "--help"])
    assert exited.value.code == 0
    text = capsys.readouterr().out
    assert all(option in text for option in re.findall(r"--\w+|[A-Z]{3,}", usage))


@pytest.mark.skipif(not (ROOT / ".ci").exists(), reason="a source distribution has no .ci/run")
def test_ci_runs_the_readmes_test_command():
    command = next(block.text for block in BLOCKS if block.language == "sh" and "pytest" in block.text)
    assert command in (ROOT / ".ci/run").read_text().replace(" --quiet", "")


# --- Settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("block", blocks("toml"))
def test_settings_are_good_and_drafts_are_not(block, workshop):
    folder = workshop(block) / Path(list(block.files)[-1]).parent
    with pytest.raises(SettingsError) if folder.name == "draft" else contextlib.nullcontext():
        settings.load(folder, installed_plugins(), environ={})


MODELS = [ConnectionSettings, TlsSettings, SendQueueSettings, ReconnectSettings]
FIELDS = {name: (model, field) for model in MODELS for name, field in model.model_fields.items()}
FIELDS |= {f"fleet.{name}": (FleetSettings, field) for name, field in FleetSettings.model_fields.items()}
ROWS = {
    around + cells[0].strip("`"): cells
    for around, heading in (("", "Field"), ("fleet.", "Of a fleet"))
    for cells in rows_of("docs/settings.md", heading)
}
#: What only Python can say.
PYTHON_ONLY = {name for name, (_, field) in FIELDS.items() if re.search("Callable|SSLContext", str(field.annotation))}


def test_every_setting_is_in_the_table():
    assert list(ROWS) == [name for name in FIELDS if name not in PYTHON_ONLY]


def shows_its_default(name):
    field = FIELDS[name][1]
    shown = ROWS[name][4]
    if field.is_required():
        return shown == "required"
    value = field.get_default(call_default_factory=True)
    if value is None and "none" not in ROWS[name][3]:
        return "`" not in shown
    if isinstance(value, BaseModel):
        value = value.model_dump(exclude_unset=True)
    if isinstance(value, frozenset | tuple):
        value = sorted(value)
    if isinstance(value, float):
        value = int(value) if value == int(value) else value
    return shown.startswith(f"`{json.dumps('none' if value is None else value)}`")


def test_the_defaults_are_those_in_the_table():
    assert [name for name in ROWS if not shows_its_default(name)] == []


def is_good(name, value):
    fields = {name: value}
    if name == "max_delay":
        fields["initial_delay"] = 0.001
    if name == "initial_delay":
        fields["max_delay"] = 86400
    if name == "time_to_live":
        fields["while_connecting"] = True
    for section, model in (("reconnect", ReconnectSettings), ("send_queue", SendQueueSettings), ("tls", TlsSettings)):
        if FIELDS[name][0] is model:
            fields = {section: fields}
    sections = {"websocket": {"connections": {"chat": {"url": "wss://127.0.0.1/", **fields}}}}
    if FIELDS[name][0] is FleetSettings:
        sections = {"fleet": {name.removeprefix("fleet."): value}}
    try:
        settings.from_values(sections, installed_plugins())
    except SettingsError:
        return False
    return True


@pytest.mark.parametrize("name", [name for name, cells in ROWS.items() if re.match(r"[\d.]+ to ", cells[3])])
def test_the_range_is_the_one_in_the_table(name):
    low, high = re.match(r"([\d.]+) to (\d+)", ROWS[name][3]).groups()
    kind = float if "." in low or ROWS[name][2] == "seconds" else int
    assert [is_good(name, value) for value in (kind(low), kind(high))] == [True, True]
    assert [is_good(name, value) for value in (kind(low) / 2, kind(high) + 1)] == [False, False]


def test_the_word_for_none_is_taken_where_the_table_says_so():
    # A text may be this word, too.
    asked = [name for name, cells in ROWS.items() if cells[3] != "text"]
    assert [name for name in asked if is_good(name, "none")] == [name for name in ROWS if '"none"' in ROWS[name][3]]


@pytest.mark.parametrize(
    "assignment", [re.sub("^`|`$", "", cells[0]) for cells in rows_of("docs/settings.md", "Variable")]
)
def test_the_variables_of_the_table_are_settings(assignment, workshop):
    block = next(block for block in BLOCKS if block.page == "docs/settings.md" and block.language == "console")
    folder = workshop(block) / "settings"
    name, _, value = assignment.partition("=")
    before = settings.load(folder, installed_plugins(), environ={})
    after = settings.load(folder, installed_plugins(), environ={name: value})
    assert after.sections != before.sections


# --- Tables of nodes and of the lifecycle -----------------------------------------------------------------------------


def called_as(cell):
    """The name of the function, and what it is given, of a call in a table."""
    name, _, arguments = cell.strip("`").partition("(")
    return name, {argument.strip(" =)") for argument in arguments.split(",")}


def test_the_nodes_are_those_of_the_toolbox():
    shown = [(node, kind, called_as(call)[0]) for node, kind, call, _ in rows_of("README.md", "Node")]
    assert shown == [(node.name, node.kind, node.function.__name__) for node in Project().toolbox]


def test_the_nodes_take_what_their_page_says():
    shown = [(node, *called_as(call)) for node, call, _ in rows_of("docs/nodes.md", "Node")]
    assert shown == [
        (node.name, node.function.__name__, {*inspect.signature(node.function).parameters})
        for node in Project().toolbox
    ]


def test_what_stands_beside_the_nodes_is_all_there():
    nodes = {node.function.__name__ for node in Project().toolbox}
    calls = [called_as(cells[0]) for cells in rows_of("docs/nodes.md", "Call")]
    assert {name for name, _ in calls} | nodes | {"Gap"} == {*rxnodes.websocket.__all__}


def test_the_phases_and_inputs_are_those_of_the_machine():
    phases = rows_of("docs/lifecycle.md", "Phase | State")
    assert [(name, state.strip("`"), meaning.lower()) for name, state, meaning in phases] == [
        (phase.name, phase.state.name, phase.meaning.lower()) for phase in Phase
    ]
    inputs = {name for cells in rows_of("docs/lifecycle.md", "Input") for name in cells[0].split(", ")}
    assert inputs == {row.on.__name__ for row in TABLE} - {"Reported"}


def test_the_letters_of_marbles_are_those_of_the_kit():
    played = {cells[0] for cells in rows_of("docs/testing.md", "Letter | The peer")} - {"any other"}
    assert {html.unescape(re.sub("`|</?code>", "", cell)) for cell in played} == peer_scripts.OWN_LETTERS
    told = {cells[0].strip("`") for cells in rows_of("docs/testing.md", "Letter | What was told")}
    assert told == diagrams.ALL_LETTERS


async def opened(chat):
    await chat.wait_started()


async def opened_and_stopped(chat):
    await chat.wait_started()
    chat.stop()


async def opened_and_aborted(chat):
    await chat.wait_started()
    chat.abort()


async def refused(chat):
    with pytest.raises(ConnectError):
        await chat.wait_started()


async def stopped_at_once(chat):
    chat.stop()


async def answer_with_words_of_its_own(peer):
    await peer.accept()
    await peer.expect_close()
    await peer.send_close(4000, "enough")


async def break_the_protocol(peer):
    await peer.accept()
    await peer.send_raw(b"\x83\x00")
    await peer.expect_close()


async def log_in_wrongly(greeting):
    raise ConnectError("there is no token")


async def log_in(greeting):
    await greeting.receive()


#: What the server does, what we do, and how we log in. Where the page speaks of the peer's words, they are 4000 "enough".
ENDS = {
    "Refused: TCP, TLS, or the handshake": (refuse(401), refused),
    "Stopped while connecting": (never_answer_handshake, stopped_at_once),
    "The login fails: `after_connect` raises, or takes too long": (
        answer_with_words_of_its_own,
        refused,
        log_in_wrongly,
    ),
    "The peer closes during the login": (close_with(4000, "enough"), refused, log_in),
    "Closed by us": (answer_with_words_of_its_own, opened_and_stopped),
    "Closed by the peer": (close_with(4000, "enough"), opened),
    "Network loss: TCP ends without a Close frame": (hang_up, opened),
    "Timeout: the peer never answers our Close frame": (never_answer_close, opened_and_stopped),
    "The peer breaks the protocol": (break_the_protocol, opened),
    "Aborted by us": (echo, opened_and_aborted),
}


def test_the_table_shows_every_end():
    assert [cells[0] for cells in rows_of("docs/lifecycle.md", "How it ended")] == list(ENDS)


@pytest.mark.parametrize("end", ENDS)
async def test_an_end_is_as_the_table_says(end):
    script, act, *logins = ENDS[end]
    events = []
    async with WebSocketServer(script) as server:
        settings = {"url": server.url, "close_timeout": 0.2, "after_connect": logins[0] if logins else None}
        async with Project(websocket={"chat": settings}) as project:
            chat = project.websocket("chat")
            chat.lifecycle.subscribe(events.append)
            chat.start()
            await act(chat)
            async with asyncio.timeout(PATIENCE):
                stopped = await chat.wait_stopped()
    row = next(cells[1:] for cells in rows_of("docs/lifecycle.md", "How it ended") if cells[0] == end)
    code, reason, *others, told = row
    assert stopped.code == (4000 if "the peer's" in code else int(code))
    assert stopped.reason == {"the peer's": "enough", "empty": ""}[reason]
    error = None if stopped.error is None else type(stopped.error).__name__
    assert others == [f"`{value}`" for value in (stopped.was_clean, Initiator(stopped.initiator).name, error)]
    assert told == " ".join(f"`{type(event).__name__}`" for event in events)


# --- Links ------------------------------------------------------------------------------------------------------------


@functools.cache
def anchors_of(file):
    """The anchors of a page, as GitHub makes them of its headings."""
    headings = re.findall(
        r"^#+ (.*)$", re.sub(r"^```.*?^```$", "", file.read_text(), flags=re.DOTALL | re.MULTILINE), re.MULTILINE
    )
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def leads_somewhere(page, text, target):
    path, _, anchor = target.partition("#")
    file = (ROOT / page).parent / path if path else ROOT / page
    if not file.exists() or (anchor and anchor not in anchors_of(file)):
        return False
    is_of_a_test = file.resolve().is_relative_to(ROOT / "tests") and text != target
    return not is_of_a_test or re.search(rf"^(async def|def|class) {text}\b", file.read_text(), re.MULTILINE)


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page):
    links = re.findall(r"\[([^\]]*)\]\(([^)\s]+)\)", TEXTS[page])
    here = [(text, target) for text, target in links if not re.match(r"https?:", target)]
    assert [link for link in here if not leads_somewhere(page, *link)] == []


# --- The reference of all names, and what is installed ----------------------------------------------------------------

PUBLIC = [
    "rxnodes",
    *(
        f"rxnodes.{name}"
        for name in ("websocket", "websocket.jsonrpc", "recording", "testing", "inspector", "telemetry")
    ),
    *(["rxnodes.fleet"] if importlib.util.find_spec("rxnodes.fleet") else []),
]


def test_the_reference_has_every_public_name_once():
    shown = [name for page in DOCS for name in re.findall(r"^::: (\S+)$", TEXTS[page], re.MULTILINE)]
    # Some functions are in a module of their name, which would be shown in their place.
    shown = [re.sub(r"\.(\w+)\.\1$", r".\1", name) for name in shown]
    assert len(shown) == len({*shown})
    places = defaultdict(set)
    for module in map(importlib.import_module, PUBLIC):
        for name in module.__all__:
            # Some names are in several modules.
            places[name, id(getattr(module, name))].add(f"{module.__name__}.{name}")
    assert [sorted(them) for them in places.values() if len(them & {*shown}) != 1] == []
    assert {*shown} <= set().union(*places.values())


def test_every_extra_is_explained():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {cells[0].strip("`") for cells in rows_of("docs/install.md", "Extra")} == {*extras}


def test_the_version_to_cite_is_the_packages():
    file = ROOT / "CITATION.cff"
    assert f"\nversion: {rxnodes.__version__}\n" in file.read_text()


# --- Examples in docstrings -------------------------------------------------------------------------------------------

HOME = Path(rxnodes.__file__).parent
#: The modules that have any. To look through what is imported takes long, and is done where they are run.
WITH_EXAMPLES = [
    ".".join(("rxnodes", *path.relative_to(HOME).with_suffix("").parts)).removesuffix(".__init__")
    for path in sorted(HOME.rglob("*.py"))
    if ">>> " in path.read_text()
]


#: What examples of the testing kit connect with. Leaving a connection in a black hole would take its full timeout.
PEERS = {
    "aiohttp": aiohttp,
    "websockets": SimpleNamespace(connect=functools.partial(websockets.connect, close_timeout=0.01)),
}


def displayed(value):
    """Prints what an expression gives, as the prompt does; the "..." that stands for a user's code gives nothing."""
    if value is not ...:
        sys.__displayhook__(value)


@pytest.mark.parametrize("name", WITH_EXAMPLES)
def test_the_examples_do_what_they_show(name, capsys, monkeypatch):
    """As doctest does it, but `await` and `async with` may stand in an example as they are."""
    monkeypatch.setattr(sys, "displayhook", displayed)
    module = importlib.import_module(name)
    docstrings = [test for test in doctest.DocTestFinder().find(module) if test.examples]
    # mypyc gives no class that it compiles its docstring.
    assert docstrings or not module.__file__.endswith(".py")
    for docstring in docstrings:
        with asyncio.Runner() as runner:
            run_examples(docstring, module, runner, capsys)


def run_examples(docstring, module, runner, capsys):
    names = {**vars(module)}
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | importlib.import_module("__future__").annotations.compiler_flag
    is_of_the_kit = module.__name__.startswith(("rxnodes.testing", "rxnodes.transport.scripted"))
    if is_of_the_kit:
        server = WebSocketServer(echo)
        runner.run(server.__aenter__())
        kit = {name: getattr(rxnodes.testing, name) for name in rxnodes.testing.__all__}
        names = {**names, **kit, **PEERS, "server": server}
    for example in docstring.examples:
        code = compile(example.source, docstring.name, "single", flags, dont_inherit=True)
        if code.co_flags & inspect.CO_COROUTINE:
            runner.run(as_coroutine(code, names))
        else:
            exec(code, names)  # noqa: S102 - our own examples
        printed = capsys.readouterr().out
        shown = f"{docstring.name}:\n{example.source}\n{printed}"
        assert doctest.OutputChecker().check_output(example.want, printed, 0), shown
    if is_of_the_kit:
        runner.run(server.__aexit__(None, None, None))


async def as_coroutine(code, names):
    await eval(code, names)  # noqa: S307 - our own examples


#: What the testing kit tells a test, its types, and the constants of frames.
TOLD_BY_THE_KIT = {
    *("Close", "CloseReceived", "EndOfStream", "Ending", "Recorded", "Request", "Script"),
    *("Opcode", "RSV1", "RSV2", "RSV3"),
}
#: Scripts that are given to a server as they are, which gives them their peer.
READY_SCRIPTS = {
    name for name in rxnodes.testing.__all__ if inspect.iscoroutinefunction(getattr(rxnodes.testing, name))
}
#: What a program calls: the nodes and operators, what it makes or runs, and what is made for it. Events, errors and
#: enumerations are told.
CALLED = [
    *rxnodes.websocket.__all__,
    "Attempt",
    "ConnectOptions",
    "Connection",
    "Drops",
    "GiveUp",
    "Project",
    "Receipt",
    "Scene",
    "Scope",
    "Trigger",
    "aiter_observable",
    "for_each_async",
    "map_async",
    "pulse",
    "run",
    "Recorder",
    *sorted({*rxnodes.testing.__all__} - TOLD_BY_THE_KIT - READY_SCRIPTS),
]
#: Nobody else calls these, whatever they take.
MADE_BY_RXNODES = {"Connection", "Gap", "Peer", "Receipt", "Recording", "Scene", "Scope", "ScriptedPeer"}
#: What rxnodes and the event loop call, not a program.
OF_RXNODES = {
    "Drops.note",
    "Recorder.begin",
    "ScriptedPeer.take",
    "ScriptedPeer.take_close",
    "ScriptedPeer.take_close_now",
    "ScriptedTransport.dial",
    "VirtualTimeLoop.shutdown_default_executor",
}
#: The methods that are a program's, of classes whose others belong to rxnodes.
OF_PROGRAMS = {"Connection": {"start", "send", "stop", "abort", "wait_started", "wait_stopped"}, "Receipt": set()}


def called(name):
    return next(
        getattr(home, name)
        for home in (rxnodes.websocket, rxnodes, rxnodes.testing, rxnodes.recording)
        if hasattr(home, name)
    )


def functions_of(name):
    """What of it a program calls: itself, and its methods."""
    it = called(name)
    is_exception = inspect.isclass(it) and issubclass(it, Exception)
    if name not in MADE_BY_RXNODES and not is_exception:
        yield name, it
    for own, method in vars(it).items() if inspect.isclass(it) else ():
        function = getattr(method, "__func__", method)
        is_meant = own in OF_PROGRAMS.get(name, {own}) and not own.startswith("_")
        if inspect.isfunction(function) and is_meant and f"{name}.{own}" not in OF_RXNODES:
            yield f"{name}.{own}", function


FUNCTIONS = {label: function for name in CALLED for label, function in functions_of(name)}


def has_its_docstring(name):
    """Whether it is plain Python: mypyc gives no class that it compiles its docstring."""
    return sys.modules[called(name).__module__].__file__.endswith(".py")


def test_whatever_a_program_calls_has_an_example():
    names = [name for name in CALLED if has_its_docstring(name)]
    assert [name for name in names if ">>> " not in (inspect.getdoc(called(name)) or "")] == []


def undescribed(function):
    # An argument that becomes an attribute is described there.
    sections = re.findall(r"^(?:Args|Attributes):\n((?:    .*\n|\n)*)", f"{inspect.getdoc(function)}\n", re.MULTILINE)
    described = {name for section in sections for name in re.findall(r"^    \*{0,2}(\w+): ", section, re.MULTILINE)}
    return {*inspect.signature(function).parameters} - {"self", "cls"} - described


def test_every_argument_is_described():
    assert {label: left for label, function in FUNCTIONS.items() if (left := undescribed(function))} == {}
