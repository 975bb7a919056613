"""Transports, which carry bytes: the protocol that every one keeps, receipts, and the transport over aiohttp."""
