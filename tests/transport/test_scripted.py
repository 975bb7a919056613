"""The scripted transport, beyond the rules for every transport, which tests/transport/test_contract.py holds."""

from __future__ import annotations

import asyncio

import pytest
from multidict import CIMultiDict
from receipts import receipt

from rxnodes import Project
from rxnodes.transport.base import Target
from rxnodes.transport.scripted import ScriptedTransport

TARGET = Target(url="ws://test/", redacted_url="ws://test/")


class Told:
    """A sink that keeps its calls, in order."""

    def __init__(self):
        self.calls = []

    def __getattr__(self, kind):
        return lambda *told, **_: self.calls.append((kind, *told))

    def messages(self, messages):
        self.calls += [("message", message) for message in messages]

    @property
    def kinds(self):
        return [call[0] for call in self.calls]


async def turn():
    for _ in range(5):
        await asyncio.sleep(0)


def dial(script=None):
    transport, told = ScriptedTransport(script), Told()
    link = transport.dial(TARGET, told)
    assert told.calls == [], "nothing is told before the dial returns"
    assert transport.peer.target is TARGET
    return link, transport.peer, told


def dialled():
    """A link that is open."""
    link, peer, told = dial()
    peer.accept("chat.v1")
    assert told.calls == [("opened", "chat.v1", CIMultiDict())]
    told.calls.clear()
    return link, peer, told


async def test_every_dial_has_a_peer_of_its_own():
    transport = ScriptedTransport(lambda peer: peer.accept())
    first, second = Told(), Told()
    transport.dial(TARGET, first)
    transport.dial(TARGET, second)
    assert len(transport.peers) == 2
    assert transport.peer is transport.peers[1]
    await turn()
    assert first.kinds == second.kinds == ["opened"]
    transport.peers[0].reset()
    assert (first.kinds, second.kinds) == (["opened", "lost"], ["opened"])
    await transport.aclose()


async def test_a_peer_does_what_it_is_told_with_what_it_is_given():
    link, peer, told = dialled()
    errors = []
    told.violated = errors.append
    link.pause_reading()
    peer.pong(0.25)
    peer.violate(1007, "not UTF-8")
    assert (told.calls, errors) == ([], [])
    link.resume_reading()
    await turn()
    assert told.calls == [("ponged", 0.25)]
    assert [(error.code, str(error)) for error in errors] == [(1007, "not UTF-8")]


async def test_a_peer_that_is_gone_takes_every_verb_and_does_nothing():
    _, peer, told = dialled()
    peer.accept()
    peer.reset()
    for verb in (peer.accept, peer.refuse, peer.end, peer.reset, peer.violate, peer.close, peer.resume_reading):
        verb()
    peer.pong(0.5)
    peer.send("too late")
    await turn()
    assert told.kinds == ["lost"]
    assert not peer.was_aborted


async def test_a_peer_expects_each_message_once():
    link, peer, _ = dialled()
    expected = []
    peer.expect(lambda message: expected.append(("first", message)))
    link.send(receipt(b"one", is_text=True))
    assert expected == [], "not within the client's own call"
    link.send(receipt(b"two", is_text=True))
    await turn()
    assert expected == [("first", "one")]
    peer.expect(lambda message: expected.append(("second", message)))
    assert expected[1:] == [("second", "two")]
    peer.expect(lambda message: expected.append(("third", message)))
    peer.reset()
    await turn()
    assert len(expected) == 2


async def test_a_pause_in_the_midst_of_what_waited():
    link, peer, told = dialled()
    link.pause_reading()
    for message in "abc":
        peer.send(message)
    told.messages = lambda messages: (told.calls.extend(messages), link.pause_reading())
    link.resume_reading()
    await turn()
    assert told.calls == ["a"]
    peer.send("d")
    link.resume_reading()
    await turn()
    assert told.calls == ["a", "b"]


async def test_what_comes_while_the_rest_is_being_read_keeps_its_turn():
    link, peer, told = dialled()
    link.pause_reading()
    peer.send("a")
    peer.send("b")
    link.resume_reading()
    peer.send("c")
    await turn()
    assert [call[1] for call in told.calls] == ["a", "b", "c"]


async def test_a_refusal_is_read_in_any_case():
    link, peer, told = dial()
    link.pause_reading()
    peer.refuse()
    assert told.kinds == ["lost"]


# --- What a test gets wrong -------------------------------------------------------------------------------------------


async def plain_no_more(peer):
    peer.accept()


@pytest.mark.parametrize(
    ("script", "problem"),
    [
        ("-o-m", r"a script must be a function of the peer: peer_script\('-o-m'\) makes one of a diagram"),
        (["-o"], "a script must be a function of the peer, not list"),
        (plain_no_more, "a coroutine function is not awaited here"),
    ],
)
def test_what_cannot_play_a_peer_is_refused(script, problem):
    with pytest.raises(TypeError, match=problem):
        ScriptedTransport(script)


def fails_at_once(peer):
    pytest.fail("in the script")


def fails_when_open(peer):
    peer.accept()
    raise AssertionError("in the script")


@pytest.mark.parametrize("script", [fails_at_once, fails_when_open])
@pytest.mark.parametrize("reconnects", [False, True])
async def test_a_failed_script_ends_the_session_and_fails_the_test(script, reconnects):
    async def play():
        chat = {"url": "ws://test/", "reconnect": {"enabled": reconnects, "initial_delay": 0.001}}
        async with Project(websocket={"chat": chat}, transport=ScriptedTransport(script)) as project:
            connection = project.websocket("chat")
            connection.errors.subscribe(lambda event: errors.append(event.message))
            connection.start()
            stopped = await connection.wait_stopped()
            assert stopped.opened is (script is fails_when_open)

    errors = []
    async with asyncio.timeout(10):
        with pytest.raises(BaseExceptionGroup, match="ScriptedTransport: playing a peer failed") as failed:
            await play()
    (failure,) = failed.value.exceptions
    assert str(failure) == "in the script"
    assert failure.__traceback__.tb_next.tb_frame.f_code is script.__code__
    assert "in the script" in errors[0]


async def test_a_script_that_gives_a_coroutine_has_failed():
    """Were the coroutine not closed, it would warn that it was never awaited."""
    transport, told = ScriptedTransport(lambda peer: plain_no_more(peer)), Told()  # noqa: PLW0108 - it does not show
    transport.dial(TARGET, told)
    await turn()
    assert told.kinds == ["lost"]
    with pytest.raises(BaseExceptionGroup) as failed:
        await transport.aclose()
    assert "gave a coroutine" in str(failed.value.exceptions[0])


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_a_script_that_ends_the_program_is_no_failure(error):
    transport = ScriptedTransport(lambda peer: (_ for _ in ()).throw(error))

    async def main():
        transport.dial(TARGET, Told())
        await turn()

    with pytest.raises(error):
        asyncio.run(main())
    asyncio.run(transport.aclose())


async def test_a_peer_sends_messages_only():
    _, peer, told = dialled()
    with pytest.raises(TypeError, match="a message must be str or bytes, not int"):
        peer.send(3)
    assert told.calls == []


@pytest.mark.parametrize(
    ("code", "reason", "problem"),
    [
        (999, "", "close code 999 must not be sent"),
        (1006, "", "close code 1006 must not be sent"),
        (5000, "", "close code 5000 must not be sent"),
        (1000, "x" * 124, "the close reason has 124 bytes"),
        (1015, "", r"played with violate\(\), or a 'v'"),
        (1005, "why", r"an empty Close frame \(1005\) has no reason"),
    ],
)
async def test_a_peer_sends_the_close_frames_that_there_are(code, reason, problem):
    _, peer, told = dialled()
    with pytest.raises(ValueError, match=problem):
        peer.close(code, reason)
    assert told.calls == []
