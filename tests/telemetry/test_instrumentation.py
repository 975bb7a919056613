"""From when to when a project is instrumented, and what may go wrong meanwhile."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import threading
import weakref

import aiohttp
import pytest
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from projects import closed, opened, project_of
from prometheus_client import start_http_server
from virtual import accept

from rxnodes import Project
from rxnodes.telemetry import instrument
from rxnodes.testing import WebSocketServer, echo, in_virtual_time, peer_script
from rxnodes.websocket import request

NAME = "rxnodes.connection.name"


async def a_session(connection):
    await closed(await opened(connection))


def sessions(observed):
    return {name: count for (name,), count in observed.points("rxnodes.session.count", NAME).items()}


@in_virtual_time
async def test_connections_that_come_later_are_seen_from_their_beginning(observed):
    project = project_of(accept, "settings")
    instrument(project, **observed.providers)
    async with project:
        for connection in (project.websocket("settings"), project.add_websocket("added", "ws://added.test/")):
            await a_session(connection)
    assert sessions(observed) == {"settings": 1, "added": 1}
    assert len(observed.spans) == 4


@in_virtual_time
async def test_projects_share_a_provider(observed):
    """The SDK ignores the callbacks of whoever sets up a metric a second time."""
    async with project_of(accept, "chat", "a") as first, project_of(accept, "chat", "b") as second:
        for project in (first, second):
            instrument(project, **observed.providers)
        for connection in (first.websocket("chat"), second.websocket("chat"), second.websocket("b")):
            await a_session(connection)
    assert sessions(observed) == {"chat": 2, "b": 1}


@in_virtual_time
async def test_nothing_is_told_twice_and_the_last_disposable_ends_it(observed):
    async with project_of() as project:
        chat = project.websocket("chat")
        disposables = [instrument(project, **observed.providers) for _ in range(2)]
        for count in (1, 2):
            await a_session(chat)
            assert (sessions(observed)["chat"], len(observed.spans), len(observed.logs)) == (
                count,
                2 * count,
                4 * count,
            )
            disposables.pop().dispose()
        await a_session(chat)
        assert (sessions(observed)["chat"], len(observed.spans), len(observed.logs)) == (2, 4, 8)
        assert observed.points("rxnodes.connection.count", NAME) == {}
        instrument(project, **observed.providers)
        await a_session(chat)
        assert sessions(observed) == {"chat": 3}


@pytest.mark.slow
@pytest.mark.parametrize("how", ["disposed", "removed", "left"])
def test_nothing_leaks(observed, how):

    @in_virtual_time
    async def run():
        async with project_of(accept, "other") as project:
            chat = project.add_websocket("chat", "ws://chat.test/")
            disposable = instrument(project, **observed.providers)
            await a_session(chat)
            if how == "disposed":
                disposable.dispose()
                assert not chat._driver.publisher.lifecycle.is_observed
                assert not chat._driver.publisher.latency.is_observed
            elif how == "removed":
                await project.remove_websocket("chat")
                gone = weakref.ref(chat)
                del chat
                gc.collect()
                assert gone() is None
        return weakref.ref(project)

    project = run()
    gc.collect()
    assert project() is None
    assert sessions(observed) == {"chat": 1}


class Broken:
    """A provider whose instruments, spans and logger raise, whatever they are asked for."""

    def __init__(self):
        self.asked = []

    def get_meter(self, *_args, **_more):
        return self

    get_tracer = get_logger = get_meter

    def create_histogram(self, *_args, **_more):
        return self

    create_observable_counter = create_observable_up_down_counter = create_histogram

    def _raise(self, *args, **_more):
        self.asked.append(args)
        raise RuntimeError("the provider is broken")

    record = start_span = emit = _raise


def test_a_provider_that_raises_harms_nothing_else(observed, caplog):
    broken = Broken()
    errors = []

    @in_virtual_time
    async def run():
        async with project_of(peer_script("o-mp")) as project:
            instrument(project, meter_provider=broken, tracer_provider=broken, logger_provider=broken)
            instrument(project, **observed.providers)
            chat = project.websocket("chat")
            chat.errors.subscribe(errors.append)
            chat.start()
            await asyncio.sleep(1)
            chat.stop()
            return await chat.wait_stopped()

    stopped = run()
    assert (stopped.code, stopped.was_clean, stopped.messages_received) == (1000, True, 1)
    assert errors == [], "the program might react to them"
    assert len(broken.asked) == 3 + 2 + 4
    assert {record.name for record in caplog.records} == {"rxnodes.telemetry"}
    assert len(caplog.records) == len(broken.asked)
    assert (sessions(observed), len(observed.spans), len(observed.logs)) == ({"chat": 1}, 2, 4)


def test_from_another_thread(observed):
    with WebSocketServer(echo) as server, Project(websocket={"chat": server.url}) as project:
        disposable = instrument(project, **observed.providers)
        chat = project.websocket("chat")
        project.call(a_session, chat)
        disposing = threading.Thread(target=disposable.dispose)
        disposing.start()
        disposing.join()
        project.call(a_session, chat)
    assert (sessions(observed), len(observed.spans)) == ({"chat": 1}, 2)


async def test_what_prometheus_scrapes():
    reader = PrometheusMetricReader()
    provider = MeterProvider([reader])
    listening, thread = start_http_server(0, "127.0.0.1")
    try:
        async with WebSocketServer(echo) as server, Project(websocket={"chat": server.url}) as project:
            instrument(project, meter_provider=provider)
            chat = project.websocket("chat")
            await a_session(chat)
            await opened(chat)
            await request(chat, "hello", match=lambda _: True)
            port = listening.server_port
            async with aiohttp.ClientSession() as client, client.get(f"http://127.0.0.1:{port}/metrics") as answer:
                page = await answer.text()
    finally:
        provider.shutdown()
        await asyncio.to_thread(listening.shutdown)
        listening.server_close()
        thread.join()
    lines = [line for line in page.splitlines() if line.startswith("rxnodes_")]
    found = {line.partition("{")[0] for line in lines}
    assert {
        *("rxnodes_session_count_total", "rxnodes_attempt_count_total", "rxnodes_connection_count"),
        *("rxnodes_message_count_total", "rxnodes_message_io_bytes_total"),
        *("rxnodes_connect_duration_seconds_bucket", "rxnodes_close_duration_seconds_sum"),
    } <= found
    (session,) = (line for line in lines if line.startswith("rxnodes_session_count_total"))
    assert 'rxnodes_close_code="1000"' in session
    assert session.endswith(" 1.0")
    assert len(lines) == len(set(lines))


@pytest.mark.slow
def test_instrumented_before_the_global_provider_is_set():
    program = """if True:
        from observed import Observed
        from opentelemetry import metrics, trace
        from projects import opened, project_of
        from rxnodes.telemetry import instrument
        from rxnodes.testing import run_in_virtual_time

        async def main():
            observed = Observed()
            async with project_of() as early:
                instrument(early)
                metrics.set_meter_provider(observed.providers["meter_provider"])
                trace.set_tracer_provider(observed.providers["tracer_provider"])
                async with project_of() as late:
                    instrument(late)
                    for project in (early, late):
                        await opened(project.websocket("chat"))
            print(observed.points("rxnodes.session.count"), len(observed.spans))

        run_in_virtual_time(main())"""
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", program], env={"PYTHONPATH": "tests"}, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("{(): 2} 4\n", "")


def test_without_the_package_it_says_what_to_install():
    program = """if True:
        import sys
        sys.modules["opentelemetry"] = None
        try:
            import rxnodes.telemetry
        except ModuleNotFoundError as error:
            print(error)"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout.endswith("pip install 'rxnodes[otel]'\n")
