"""The settings folder: sources, places, problems."""

from rxnodes.settings.loading import LoadedSettings, from_values, load

__all__ = ["LoadedSettings", "from_values", "load"]
