"""What carries bytes: the protocol every transport keeps, aiohttp, and a scripted one for tests."""
