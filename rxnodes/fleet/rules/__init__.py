"""Who holds which connection: the rules as a pure core. Nothing here knows a clock, a socket, a task or NATS."""
