"""Beyond one machine: the same program as many workers, which share their connections over NATS."""
