"""A project: its connections, its scopes, and running a program that has one."""

from rxnodes.project.project import Project
from rxnodes.project.scope import Scene, Scope

__all__ = ["Project", "Scene", "Scope"]
