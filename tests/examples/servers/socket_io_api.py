"""A Socket.IO server, which is strict about pongs."""

import asyncio

import socketio

server = socketio.AsyncServer(async_mode="asgi", ping_interval=0.3, ping_timeout=0.3)
app = socketio.ASGIApp(server)


async def tell(sid):
    for number in range(1, 1000):
        await server.emit("news", number, to=sid)
        await asyncio.sleep(0.05)


@server.event
async def connect(sid, environ):
    if "stranger" in environ["QUERY_STRING"]:
        raise socketio.exceptions.ConnectionRefusedError("no strangers")
    server.start_background_task(tell, sid)


@server.event
async def greet(_sid, name):
    return f"hello, {name}"
