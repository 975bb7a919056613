"""The store of a fleet over NATS with JetStream."""

from rxnodes.fleet.nats.client import NatsOptions
from rxnodes.fleet.nats.layout import Layout
from rxnodes.fleet.nats.nats_store import NatsStore, nats_store

__all__ = ["Layout", "NatsOptions", "NatsStore", "nats_store"]
