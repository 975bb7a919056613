"""The live page: a project's connections, in a browser, while the program runs."""

from rxnodes.inspector.inspector import Inspector

__all__ = ["Inspector"]
