"""Records connections; draws recordings, and plays them again in tests."""

from rxnodes.recording.entries import Entry, LeftOut, Message, Messages, Pulse, Recorded
from rxnodes.recording.recorder import Recorder, record
from rxnodes.recording.recording import Recording

__all__ = ["Entry", "LeftOut", "Message", "Messages", "Pulse", "Recorded", "Recorder", "Recording", "record"]
