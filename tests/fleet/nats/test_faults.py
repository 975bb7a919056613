"""The store over NATS against real servers that are killed, stand still, forget, and hold others off."""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import json
import os
import random
import shutil
import ssl
import time
from functools import partial

import pytest
import trustme
from fleet.lone_writer import LoneWriter
from fleet.nats_servers import BINARIES, NatsCluster, NatsServer, is_there, one, three, version
from fleet.watching import Watching
from nacl.signing import SigningKey

from rxnodes import ConnectError
from rxnodes.fleet.nats import following, nats_store
from rxnodes.fleet.store import StoreFull, Unknown

pytestmark = is_there

#: How much later than its bound something may come on a busy machine.
ROOM = 2.0

binaries = pytest.mark.parametrize("binary", BINARIES, ids=map(version, BINARIES))


@contextlib.asynccontextmanager
async def store_on(url, **settings):
    store = nats_store(url, **{"lease": 1.0, "history": 100_000} | settings)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def entry_ids(watching, name):
    return [json.loads(entry.value)["id"] for entry in watching.told if entry.name == name]


# --- A lone writer is never thought to be another ---------------------------------------------------------------------


async def write_under(kill, store, url, seconds, count):
    """Appends from many lone writers at once while `kill` goes on; then all must stand, once, in order."""
    watching, seed = Watching(), random.randrange(10**6)
    print("seed", seed)
    store.watch_log(watching, since="oldest")
    writers = [LoneWriter(store, f"c{number}") for number in range(count)]
    end = time.monotonic() + seconds

    async def write(writer):
        while time.monotonic() < end:
            await writer.append()

    await asyncio.gather(kill(random.Random(seed), end), *map(write, writers))
    total = sum(len(writer.written) for writer in writers)
    await watching.until(lambda it: len(it.told) >= total)
    for writer in writers:
        assert entry_ids(watching, writer._name) == writer.written
    assert len(watching.told) == total
    assert not watching.gaps
    # And so it stands for somebody who comes later.
    async with store_on(url, is_observer=True) as other:
        late = Watching()
        other.watch_log(late, since="oldest")
        await late.until_current()
        assert late.told == watching.told
    answers = sum((writer.answers for writer in writers), start=type(writers[0].answers)())
    print(total, "entries;", dict(answers))
    assert total > 10 * count
    assert any(answer.startswith("Unknown") for answer in answers)


@binaries
@pytest.mark.parametrize("seconds", [1.5, pytest.param(6, marks=pytest.mark.slow(first=True))])
async def test_all_entries_stand_once_though_the_server_is_killed_under_them(tmp_path, binary, seconds):
    async with one(tmp_path, binary) as server, store_on(server.url) as store:

        async def kill(chance, end):
            while time.monotonic() < end:
                await asyncio.sleep(min(chance.uniform(0.3, 0.05 * seconds + 2), seconds / 3))
                server.kill()
                await asyncio.sleep(chance.uniform(0, 0.3))
                await server.start()

        await write_under(kill, store, server.url, seconds, count=20)


@pytest.mark.slow(first=True)
@binaries
async def test_all_entries_stand_once_though_the_leader_of_three_is_killed(tmp_path, binary):
    async with three(tmp_path, binary) as cluster, store_on(cluster.url, replicas=3) as store:

        async def kill(chance, end):
            while time.monotonic() < end:
                await asyncio.sleep(chance.uniform(1, 3))
                server = await cluster.leader(store, store._layout.log)
                server.kill()
                await asyncio.sleep(chance.uniform(0, 1))
                await server.start()

        await write_under(kill, store, cluster.url, 6, count=20)


# --- Servers that stand still, or come back otherwise -----------------------------------------------------------------


@binaries
async def test_a_server_that_stands_still_is_left_and_what_had_timed_out_is_not_written_later(tmp_path, binary):
    async with one(tmp_path, binary) as server, store_on(server.url) as store:
        watching, told = Watching(), []
        store.watch_log(watching)
        store.on_connection(told.append)
        await watching.until_current()
        server.stop()
        began = time.monotonic()
        # It lies in the system's buffers now, or in the client's: as it were a megabyte.
        with pytest.raises(Unknown):
            await asyncio.gather(*(store.append(f"c{number}", bytes(50_000), 0) for number in range(100)))
        await watching.until_away()
        assert time.monotonic() - began < 1 + ROOM
        await asyncio.sleep(0.5)
        server.go_on()
        await watching.until_current()
        assert told == [True, False, True]
        # What the system had taken may be written; what was left in the client is not.
        await asyncio.sleep(1)
        assert len(watching.told) < 100
        assert await store.append("chat", b"", 0)


@binaries
async def test_a_log_that_went_back_and_on_again_is_a_gap(tmp_path, binary):
    async with one(tmp_path, binary) as server, store_on(server.url) as store:
        before, after = LoneWriter(store, "chat"), LoneWriter(store, "other")
        for _ in range(5):
            await before.append()
        server.kill()
        shutil.copytree(server.folder / "streams", tmp_path / "copy")
        await server.start()
        watching = Watching()
        store.watch_log(watching, since="oldest")
        await watching.until_current()
        for _ in range(5):
            await before.append()
        await watching.until(lambda it: len(it.told) == 10)
        server.kill()
        server.forget()
        shutil.copytree(tmp_path / "copy", server.folder / "streams")
        server.launch()
        await server.listening()
        # It has gone further than before, by other entries, before the watch can look.
        for _ in range(7):
            await after.append()
        await watching.until(lambda it: it.current and len(it.told) == 12)
        assert len(watching.gaps) == 1
        assert entry_ids(watching, "chat") == before.written[:5]
        assert entry_ids(watching, "other") == after.written


@binaries
async def test_a_consumer_that_the_server_has_forgotten_is_missed_by_its_heartbeats(tmp_path, binary, monkeypatch):
    # As many as a server sends, so that a few of them are soon missed.
    monkeypatch.setattr(following, "_HEARTBEAT", 0.1)
    async with one(tmp_path, binary) as server, store_on(server.url) as store:
        watching, told, writer = Watching(), [], LoneWriter(store, "chat")
        store.watch_log(watching)
        store.on_connection(told.append)
        await watching.until_current()
        api, stream = store._jetstream.api, store._layout.log.stream
        (consumer,) = (await api(f"CONSUMER.NAMES.{stream}"))["consumers"]
        await api(f"CONSUMER.DELETE.{stream}.{consumer}")
        began = time.monotonic()
        for _ in range(3):
            await writer.append()
        await watching.until(lambda it: it.current and entry_ids(it, "chat") == writer.written)
        assert time.monotonic() - began < 0.5 + ROOM
        assert not watching.gaps
        assert told == [True]


@pytest.mark.slow
@binaries
async def test_a_long_log_is_read_through_though_signs_of_life_lie_behind_it(tmp_path, binary):
    async with one(tmp_path, binary) as server, store_on(server.url) as store:
        writers = [LoneWriter(store, f"c{number}") for number in range(50)]

        async def write(writer):
            for _ in range(400):
                await writer.append()

        await asyncio.gather(*map(write, writers))
        watching, told = Watching(), []
        store.on_connection(told.append)
        store.watch_log(watching, since="oldest")
        await watching.until_current()
        assert [entry_ids(watching, writer._name) for writer in writers] == [writer.written for writer in writers]
        assert told == [True]


@pytest.mark.slow(first=True)
@binaries
async def test_of_three_servers_one_may_stand_still(tmp_path, binary):
    async with three(tmp_path, binary) as cluster, store_on(cluster.url, replicas=3) as store:
        watching, writer = Watching(), LoneWriter(store, "chat")
        store.watch_log(watching, since="oldest")
        await watching.until_current()
        leader = await cluster.leader(store, store._layout.log)
        leader.stop()
        await writer.append()
        await watching.until(lambda it: it.current and entry_ids(it, "chat") == writer.written)
        leader.go_on()
        await leader.listening()
        assert not watching.gaps


# --- Who may come -----------------------------------------------------------------------------------------------------


BY_PASSWORD = 'authorization { user: "me", password: "s3cr3t" }'  # noqa: S105 - of a server that lives for one test
BY_TOKEN = 'authorization { token: "s3cr3t" }'  # noqa: S105 - likewise


@pytest.mark.parametrize(
    ("config", "right", "wrong"),
    [
        (BY_PASSWORD, "me:s3cr3t", "me:wr0ng"),
        (BY_PASSWORD, "me:s3cr3t", ""),
        (BY_TOKEN, "s3cr3t", "wr0ng"),
        (BY_PASSWORD.replace("s3cr3t", "s3cr3t,/@:%"), "me:s3cr3t%2C%2F%40%3A%25", "me:wr0ng"),
    ],
)
async def test_who_is_refused_is_told_at_once_and_without_secrets(tmp_path, config, right, wrong):
    async with one(tmp_path, more=config) as server:
        url = server.url.replace("//", f"//{wrong}@" if wrong else "//")
        with pytest.raises(ConnectError, match=r"(?i)the NATS server refuses.*authorization") as refused:
            await nats_store(url).open()
        assert "wr0ng" not in str(refused.value)
        async with store_on(server.url.replace("//", f"//{right}@")) as store:
            assert await store.append("chat", b"1", 0) == 1
            server.kill()
            await server.start()
            async with asyncio.timeout(10):
                while not store.is_connected:
                    await asyncio.sleep(0.01)
            assert "s3cr3t" not in repr(store._connection._options)


async def test_it_waits_where_no_server_answers(tmp_path, caplog):
    server = NatsServer(tmp_path, BINARIES[0])
    store = nats_store(server.url, lease=1.0)
    opening = asyncio.create_task(store.open())
    async with asyncio.timeout(10):
        while "No NATS server answers" not in caplog.text:
            await asyncio.sleep(0.01)
    try:
        assert f"answers at 127.0.0.1:{server.port}: Connection refused" in caplog.text
        await server.start()
        await asyncio.wait_for(opening, 10)
        assert store.is_connected
        await store.close()
    finally:
        server.kill()


@binaries
@pytest.mark.slow
async def test_it_waits_for_as_many_servers_as_there_are_replicas(tmp_path, binary):
    cluster = NatsCluster(tmp_path, binary)
    try:
        for server in cluster.servers[:2]:
            server.launch()
        for server in cluster.servers[:2]:
            await server.listening()
        store = nats_store(cluster.url, lease=8.0, replicas=3)
        opening = asyncio.create_task(store.open())
        await asyncio.wait([opening], timeout=3)
        assert not opening.done()
        await cluster.servers[2].start()
        await asyncio.wait_for(opening, 30)
        await store.close()
    finally:
        cluster.kill()


async def test_opening_can_be_cancelled(tmp_path):
    store = nats_store(NatsServer(tmp_path, BINARIES[0]).url)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(store.open(), 0.1)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    with pytest.raises(Unknown):
        await store.last("chat")


async def test_over_tls_the_certificate_counts(tmp_path):
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    config = f'tls {{ cert_file: "{tmp_path}/cert.pem", key_file: "{tmp_path}/key.pem" }}'
    async with one(tmp_path, more=config) as server:
        with pytest.raises(ConnectError, match="certificate"):
            await nats_store(server.url.replace("nats:", "tls:")).open()
        context = ssl.create_default_context()
        authority.configure_trust(context)
        async with store_on(server.url, tls=context) as store:
            at = await store.append("chat", b"1", 0)
            server.kill()
            await server.start()
            writer = LoneWriter(store, "other")
            await writer.append()
            assert (await store.last("chat")).revision == at


async def test_a_credentials_file_is_enough(tmp_path):
    accounts = Accounts()
    (tmp_path / "me.creds").write_text(accounts.credentials)
    async with one(tmp_path, more=accounts.config) as server:
        with pytest.raises(ConnectError, match=r"(?i)authorization"):
            await nats_store(server.url).open()
        async with store_on(server.url, credentials=tmp_path / "me.creds") as store:
            assert await store.append("chat", b"1", 0) == 1


class Accounts:
    """An operator, an account with JetStream and a user, as NATS' JWTs have them, with keys made for this alone."""

    def __init__(self):
        operator, system, account, user = (Key(prefix) for prefix in (14 << 3, 0, 0, 20 << 3))
        limits = {"mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1, "subs": -1, "data": -1}
        limits |= {"payload": -1, "imports": -1, "exports": -1, "conn": -1, "leaf": -1, "wildcards": True}
        operator_jwt = operator.sign(operator.public, {"type": "operator", "version": 2})
        accounts = {
            it.public: operator.sign(
                it.public, {"type": "account", "version": 2, "limits": limits if it is account else {}}
            )
            for it in (system, account)
        }
        user_jwt = account.sign(user.public, {"type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1})
        self.credentials = (
            f"-----BEGIN NATS USER JWT-----\n{user_jwt}\n------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{user.seed}\n------END USER NKEY SEED------\n"
        )
        self.config = (
            f'operator: "{operator_jwt}"\nsystem_account: {system.public}\nresolver: MEMORY\n'
            f"resolver_preload: {json.dumps(accounts)}"
        )


class Key:
    """A key as NATS writes them: https://github.com/nats-io/nkeys."""

    def __init__(self, prefix):
        raw = os.urandom(32)
        self._key = SigningKey(raw)
        self.public = encoded(bytes([prefix]), bytes(self._key.verify_key))
        self.seed = encoded(bytes([18 << 3 | prefix >> 5, (prefix & 31) << 3]), raw)

    def sign(self, subject, claims):
        """A JWT about a subject."""
        body = {"jti": "test", "iat": 1, "iss": self.public, "name": "test", "sub": subject, "nats": claims}
        parts = [without_padding(json.dumps(part)) for part in ({"typ": "JWT", "alg": "ed25519-nkey"}, body)]
        signed = ".".join(parts)
        return f"{signed}.{without_padding(self._key.sign(signed.encode()).signature)}"


def encoded(prefix, raw):
    whole = prefix + raw
    return base64.b32encode(whole + binascii.crc_hqx(whole, 0).to_bytes(2, "little")).decode().rstrip("=")


def without_padding(part):
    return base64.urlsafe_b64encode(part.encode() if isinstance(part, str) else part).decode().rstrip("=")


# --- Messages that are kept leave room for all else -------------------------------------------------------------------


async def keep_for_ever(store):
    while True:
        with contextlib.suppress(Unknown):
            await store.keep("chat", bytes(500_000))


@binaries
async def test_a_stream_that_is_full_of_messages_takes_no_room_from_leases_records_and_the_log(tmp_path, binary):
    # Answers may take two seconds: it is not about time.
    on = partial(store_on, lease=8.0)
    server = NatsServer(tmp_path, binary)
    server.limit("16MB")
    await server.start()
    try:
        # As of a fleet that kept none before.
        async with on(server.url), on(server.url, keeps=True) as store:
            with pytest.raises(StoreFull):
                await keep_for_ever(store)
            for number in range(1, 100):
                assert await store.put_lease(f"w{number}", bytes(500), 0)
                assert await store.write_record(f"c{number}", bytes(500), 0)
                assert await store.append(f"c{number}", bytes(10_000), 0)
        # What somebody has set stays.
        async with on(server.url, keeps=True) as store:
            kept = await store._jetstream.api(f"STREAM.INFO.{store._layout.kept.stream}")
            assert kept["config"]["max_bytes"] < 16 << 20
            config = {**kept["config"], "max_bytes": 14_000_000}
            await store._jetstream.api(f"STREAM.UPDATE.{store._layout.kept.stream}", config)
        async with on(server.url, keeps=True) as store:
            await store.keep("chat", bytes(500_000))
    finally:
        server.kill()
