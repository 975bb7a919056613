"""RFC 6455 and RFC 7692 without I/O: the opening handshake, frames, messages, compression."""
