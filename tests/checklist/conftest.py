"""What the tests of the checklist have in common."""

from __future__ import annotations

import weakref

import pytest

from rxnodes.transport.aiohttp.link import AiohttpLink


@pytest.fixture
def links(monkeypatch):
    """The links that have dialled and are not released."""
    links = weakref.WeakSet()
    watch = AiohttpLink.watch

    def note(link, sock):
        links.add(link)
        watch(link, sock)

    monkeypatch.setattr(AiohttpLink, "watch", note)
    return links
