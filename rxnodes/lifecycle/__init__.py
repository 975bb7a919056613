"""The heart: what a connection's life consists of. Pure, with no I/O, no clock and no randomness in it."""
