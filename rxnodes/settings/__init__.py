"""The settings folder: its sources, merged and validated. `loading` says what is in it, and how it is built."""

from rxnodes.settings.loading import LoadedSettings, from_values, load

__all__ = ["LoadedSettings", "from_values", "load"]
