"""`nox`: the tests on every Python that is on the machine, lint, types, documentation, benchmarks."""

from __future__ import annotations

import nox

nox.options.sessions = ["quick", "lint", "types"]
nox.options.reuse_existing_virtualenvs = True
nox.options.error_on_missing_interpreters = False

PYTHONS = ["3.11", "3.12", "3.13", "3.14"]


@nox.session(python=PYTHONS)
def quick(session: nox.Session) -> None:
    """The quick tier of the tests."""
    session.install("-e", ".[test]")
    session.run("pytest", "-q", "-m", "not slow", *session.posargs)


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """All tests."""
    session.install("-e", ".[test]")
    session.run("pytest", *session.posargs)


@nox.session(python=PYTHONS)
def compiled(session: nox.Session) -> None:
    """The tests on the wheel with the compiled wire, which it builds; it needs a C compiler."""
    session.run("bash", ".ci/compiled", *session.posargs, external=True, env={"PYTHON": f"{session.bin}/python"})


@nox.session
def lint(session: nox.Session) -> None:
    """Format and lint."""
    session.install("-e", ".[test]")
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """Types, by mypy and by pyright; those of the documentation's programs too."""
    session.install("-e", ".[test]")
    session.run("mypy")
    session.run("pyright")
    session.run("pytest", "-q", "tests/test_docs_types.py")


@nox.session
def docs(session: nox.Session) -> None:
    """What the documentation shows: its programs, outputs, tables, links and pictures; and its site."""
    session.install("-e", ".[test,docs]")
    files = ("docs", "docs_pictures", "site", "architecture", "reliability")
    session.run("pytest", "-q", *(f"tests/test_{name}.py" for name in files))


@nox.session
def recipes(session: nox.Session) -> None:
    """The notebook among the examples, and the recipes, against servers that others have written."""
    session.install("-e", ".[recipes]")
    session.run("pytest", "-q", "tests/examples", "-k", "notebook or recipes")


@nox.session
def benchmarks(session: nox.Session) -> None:
    """The benchmarks; the quick ones, unless arguments say otherwise."""
    session.install("-e", ".[bench]")
    session.run("python", "-m", "benchmarks", *(session.posargs or ["--quick"]))
