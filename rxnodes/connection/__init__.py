"""A connection: the facade that users see, and what is behind it."""

from rxnodes.connection.connection import Connection

__all__ = ["Connection"]
