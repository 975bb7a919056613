"""A GraphQL API: strawberry, as an ASGI application for uvicorn."""

import asyncio
from collections.abc import AsyncGenerator

import strawberry
from strawberry.asgi import GraphQL

listeners = 0


@strawberry.type
class Query:
    @strawberry.field
    def hello(self) -> str:
        return "world"

    @strawberry.field
    def listeners(self) -> int:
        return listeners


@strawberry.type
class Subscription:
    @strawberry.subscription
    async def ticks(self, up_to: int = 1_000_000) -> AsyncGenerator[int, None]:
        global listeners  # noqa: PLW0603
        listeners += 1
        try:
            for number in range(1, up_to + 1):
                yield number
                await asyncio.sleep(0.02)
        finally:
            listeners -= 1


app = GraphQL(strawberry.Schema(Query, subscription=Subscription))
