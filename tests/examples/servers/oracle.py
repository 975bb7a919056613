"""Answers questions, but for one, and says how many have taken their leave in order."""

import asyncio
import json
import sys

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosedOK

goodbyes = 0


def answer_to(question):
    return goodbyes if question == "goodbyes" else question.upper()


async def answer(socket):
    global goodbyes  # noqa: PLW0603
    try:
        while True:
            question = json.loads(await socket.recv())
            if question["ask"] != "the meaning of life":
                await socket.send(json.dumps({"id": question["id"], "answer": answer_to(question["ask"])}))
    except ConnectionClosedOK:
        goodbyes += 1


async def main(port):
    async with serve(answer, "127.0.0.1", port) as server:
        await server.serve_forever()


asyncio.run(main(int(sys.argv[1])))
