"""The scripted transport: its peer keeps the rules that `rxnodes.transport.base` sets for every transport."""

from __future__ import annotations

import asyncio

import pytest
from receipts import receipt

from rxnodes import ConnectError, ConnectionLost, Project, ProtocolError
from rxnodes.lifecycle.events import Traffic
from rxnodes.testing.scripted import ScriptedTransport
from rxnodes.transport.base import Target

TARGET = Target(url="ws://test/", redacted_url="ws://test/")


class Told:
    """A sink that keeps what it is told, in order."""

    def __init__(self):
        self.calls = []
        self.sends = []

    def opened(self, subprotocol):
        self.calls.append(("opened", subprotocol))

    def messages(self, messages):
        self.calls += [("message", message) for message in messages]

    def sent(self, receipts):
        self.sends += [("sent", receipt.payload) for receipt in receipts]

    def unsent(self, receipts):
        self.sends += [("unsent", receipt.payload) for receipt in receipts]

    def overflowed(self, receipts):
        self.sends += [("overflowed", receipt.payload) for receipt in receipts]

    def close_received(self, code, reason, *, tcp_ended=False):
        assert not tcp_ended
        self.calls.append(("close received", code, reason))

    def close_sent(self):
        self.calls.append(("close sent",))

    def ponged(self, round_trip):
        self.calls.append(("ponged", round_trip))

    def violated(self, error):
        self.calls.append(("violated", error.code))

    def lost(self, error, traffic):
        assert isinstance(traffic, Traffic)
        self.calls.append(("lost", type(error), traffic))

    @property
    def kinds(self):
        return [call[0] for call in self.calls]

    @property
    def traffic(self):
        assert self.kinds.count("lost") == 1
        assert self.kinds[-1] == "lost"
        return self.calls[-1][2]


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
    assert told.calls == [("opened", "chat.v1")]
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


async def test_a_dial_that_is_refused():
    _, peer, told = dial()
    peer.refuse("503", status=503, retryable=False)
    peer.refuse()
    peer.accept()
    ((what, error, traffic),) = told.calls
    assert (what, error, traffic) == ("lost", ConnectError, Traffic())
    assert peer.is_lost


async def test_a_well_behaved_peer_answers_our_close_and_ends_tcp():
    link, peer, told = dialled()
    link.send(receipt(b"hi", is_text=True))
    link.send(receipt(b"\x00", is_text=False))
    peer.send("tschüß")
    peer.send(b"\x01")
    link.close(4000, "done")
    link.close(4001, "once more")
    await turn()
    assert peer.received == ["hi", b"\x00"]
    assert peer.close_frame == (4000, "done")
    assert told.calls[:-1] == [
        ("message", "tschüß"),
        ("message", b"\x01"),
        ("close sent",),
        ("close received", 4000, ""),
    ]
    assert told.traffic == Traffic(messages_received=2, bytes_received=9, messages_sent=2, bytes_sent=3, unsent=0)


async def test_the_peer_closes_and_waits_for_our_answer():
    link, peer, told = dialled()
    peer.close(1001, "going away")
    await turn()
    assert told.calls == [("close received", 1001, "going away")]
    peer.close(1000)
    peer.send("behind the Close frame")
    peer.violate()
    assert len(told.calls) == 1, "nothing comes behind a Close frame"
    link.close_now(1001, "")
    await turn()
    assert told.kinds == ["close received", "close sent", "lost"]
    assert told.calls[-1][1] is type(None)


async def test_a_peer_without_manners():
    link, peer, told = dialled()
    peer.answers_close = False
    link.close(1000, "")
    await turn()
    assert told.kinds == ["close sent"]
    peer.ends_tcp = False
    peer.close()
    await turn()
    assert told.kinds == ["close sent", "close received"]
    peer.end()
    assert told.kinds[-1] == "lost"


async def test_a_violation_is_the_last_that_is_heard_of_the_peer():
    link, peer, told = dialled()
    peer.violate(1009, "too big")
    peer.violate()
    peer.send("behind it")
    peer.close()
    link.close_now(1009, "")
    await turn()
    assert told.kinds == ["violated", "close sent", "lost"]
    assert told.calls[0] == ("violated", 1009)


async def test_a_pong():
    _, peer, told = dialled()
    peer.pong(0.25)
    peer.reset()
    peer.pong(0.5)
    assert told.kinds == ["ponged", "lost"]
    assert told.calls[0] == ("ponged", 0.25)


@pytest.mark.parametrize("end", ["end", "reset"])
async def test_tcp_ends_without_a_close_frame(end):
    link, peer, told = dialled()
    getattr(peer, end)()
    assert told.calls[0][:2] == ("lost", ConnectionLost)
    # Whoever still holds the link is not punished for it.
    link.send(receipt(b"too late", is_text=True))
    link.close(1000, "")
    link.abort()
    for verb in (peer.accept, peer.end, peer.reset, peer.violate, peer.close):
        verb()
    peer.send("too late")
    await turn()
    assert told.kinds == ["lost"]
    assert not peer.was_aborted


async def test_a_peer_that_stops_reading_gets_it_all_when_it_goes_on():
    link, peer, told = dialled()
    link.send(receipt(b"before", is_text=True))
    peer.stop_reading()
    link.send(receipt(b"waits", is_text=True))
    link.close(1000, "in order")
    link.close(1001, "no second one")
    await turn()
    assert peer.received == ["before"]
    assert peer.close_frame is None
    assert told.calls == [], "our Close frame has not left"
    peer.resume_reading()
    await turn()
    assert peer.received == ["before", "waits"]
    assert peer.close_frame == (1000, "in order")
    assert told.kinds == ["close sent", "close received", "lost"]


async def test_going_on_with_reading_where_nothing_waits():
    _, peer, told = dialled()
    peer.stop_reading()
    peer.resume_reading()
    assert (peer.received, told.calls) == ([], [])


async def test_what_a_peer_never_read_is_unsent():
    link, peer, told = dialled()
    peer.stop_reading()
    link.send(receipt(b"waits", is_text=True))
    link.close(1000, "")
    link.close_now(1002, "ahead of it")
    link.abort()
    link.abort()
    assert told.calls == [], "the end comes in a turn of its own"
    await turn()
    assert told.calls[0][:2] == ("lost", type(None))
    assert told.traffic.unsent == 1
    assert told.traffic.messages_sent == 0
    assert peer.was_aborted
    peer.resume_reading()
    await turn()
    assert (peer.received, peer.close_frame) == ([], None), "it comes too late"
    assert told.sends == [("unsent", b"waits")]
    assert told.traffic.messages_sent == 0


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


async def test_nothing_comes_behind_an_abort():
    link, peer, told = dialled()
    link.abort()
    peer.send("too late")
    peer.close()
    peer.reset()
    peer.pong(1.0)
    await turn()
    assert told.kinds == ["lost"]


async def test_a_violation_carries_what_to_answer():
    _, peer, told = dialled()
    errors = []
    told.violated = errors.append
    peer.violate(1007, "not UTF-8")
    (error,) = errors
    assert isinstance(error, ProtocolError)
    assert (error.code, str(error)) == (1007, "not UTF-8")


async def test_what_the_peer_does_waits_while_the_client_does_not_read():
    link, peer, told = dialled()
    link.pause_reading()
    link.pause_reading()
    peer.send("a")
    peer.pong(0.5)
    peer.send(b"b")
    peer.close(4000, "bye")
    peer.send("behind the Close frame")
    await turn()
    assert told.calls == []
    assert peer.is_held
    link.resume_reading()
    link.resume_reading()
    assert told.calls == [], "it comes in a turn of its own"
    await turn()
    assert told.calls == [("message", "a"), ("ponged", 0.5), ("message", b"b"), ("close received", 4000, "bye")]


@pytest.mark.parametrize(
    ("verb", "seen"), [("end", "lost"), ("reset", "lost"), ("violate", "violated"), ("close", "close received")]
)
async def test_an_end_waits_as_well_and_comes_behind_the_messages(verb, seen):
    link, peer, told = dialled()
    link.pause_reading()
    peer.send("a")
    getattr(peer, verb)()
    await turn()
    assert (told.calls, peer.is_lost) == ([], False)
    link.resume_reading()
    await turn()
    assert told.kinds == ["message", seen]


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


@pytest.mark.parametrize("held_first", [True, False])
async def test_a_client_that_closes_reads_to_the_end(held_first):
    link, peer, told = dialled()
    if held_first:
        link.pause_reading()
        peer.send("a")
    link.close(1000, "")
    link.pause_reading()
    if not held_first:
        peer.send("a")
    await turn()
    assert told.kinds[-1] == "lost"
    assert sorted(told.kinds) == ["close received", "close sent", "lost", "message"]
    assert told.traffic.messages_received == 1


async def test_a_handshake_is_read_in_any_case():
    link, peer, told = dial()
    link.pause_reading()
    peer.accept()
    peer.send("a")
    assert told.kinds == ["opened"]
    link.abort()
    link.resume_reading()
    await turn()
    assert told.kinds == ["opened", "lost"]
    link.pause_reading()
    link.resume_reading()
    await turn()
    assert told.kinds == ["opened", "lost"]


async def test_a_refusal_is_read_in_any_case():
    link, peer, told = dial()
    link.pause_reading()
    peer.refuse()
    assert told.kinds == ["lost"]


async def test_a_peer_accepts_once():
    told = Told()
    transport = ScriptedTransport()
    transport.dial(TARGET, told)
    transport.peer.accept()
    transport.peer.accept()
    assert told.kinds == ["opened"]


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
        (1005, "why", r"an empty Close frame \(1005\) has no reason"),
    ],
)
async def test_a_peer_sends_the_close_frames_that_there_are(code, reason, problem):
    _, peer, told = dialled()
    with pytest.raises(ValueError, match=problem):
        peer.close(code, reason)
    assert told.calls == []


async def test_what_no_close_frame_can_be_is_played_as_a_violation():
    _, peer, _ = dialled()
    with pytest.raises(ValueError, match=r"played with violate\(\), or a 'v'"):
        peer.close(1015)


async def test_a_peer_may_send_an_empty_close_frame():
    _, peer, told = dialled()
    peer.close(1005)
    assert told.calls == [("close received", 1005, "")]
