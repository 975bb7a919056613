"""Proxies and servers that we did not write, as processes of their own: each is skipped, with a reason, where it is missing."""

from __future__ import annotations

import contextlib
import importlib.util
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass

import pytest

#: How long one may take to start on a busy machine, in seconds.
PATIENCE = 30

USER, PASSWORD = "user", "pass%2Dword"
WRONG = "mistaken"


@dataclass(frozen=True)
class Running:
    """A proxy that runs.

    Attributes:
        address: Host and port.
        schemes: What is spoken there.
        asks: Whether it asks for credentials.
    """

    address: str
    schemes: tuple[str, ...]
    asks: bool

    def url(self, scheme, password=PASSWORD):
        return f"{scheme}://{USER}:{password}@{self.address}" if self.asks else f"{scheme}://{self.address}"


@contextlib.contextmanager
def tinyproxy(folder):
    port = free_port()
    (folder / "tinyproxy.conf").write_text(
        f"Port {port}\nListen 127.0.0.1\nTimeout 60\nMaxClients 20\nAllow 127.0.0.1\nBasicAuth user pass-word\n"
    )
    with process(program("tinyproxy"), "-d", "-c", str(folder / "tinyproxy.conf"), port=port):
        yield Running(f"127.0.0.1:{port}", ("http",), asks=True)


@contextlib.contextmanager
def dante(folder):
    port = free_port()
    (folder / "danted.conf").write_text(
        f"logoutput: stderr\ninternal: 127.0.0.1 port = {port}\nexternal: lo\nsocksmethod: none\nclientmethod: none\n"
        "user.privileged: root\nuser.unprivileged: nobody\n"
        "client pass {\n from: 127.0.0.0/8 to: 0.0.0.0/0\n}\nsocks pass {\n from: 127.0.0.0/8 to: 0.0.0.0/0\n}\n"
    )
    with process(program("danted"), "-f", str(folder / "danted.conf"), port=port):
        yield Running(f"127.0.0.1:{port}", ("socks5", "socks5h"), asks=False)


@contextlib.contextmanager
def pproxy(_folder):
    port = free_port()
    listen = f"http+socks5://127.0.0.1:{port}/#user:pass-word"
    # It would install uvloop, and then ask for a loop in the way of older versions.
    start = "import asyncio, sys; sys.modules['uvloop'] = None; asyncio.set_event_loop(asyncio.new_event_loop())"
    start += f"; from {module('pproxy')}.server import main; main(sys.argv[1:])"
    # Or else it asks nobody again who has come from the same address before.
    with process(sys.executable, "-c", start, "-l", listen, "--auth", "0", port=port):
        yield Running(f"127.0.0.1:{port}", ("http", "socks5", "socks5h"), asks=True)


@contextlib.contextmanager
def nginx(folder, behind):
    """A server at a unix socket, which hands everything to the port `behind`. Gives the socket's path."""
    (folder / "nginx.conf").write_text(
        f"daemon off;\nmaster_process off;\npid {folder}/nginx.pid;\nerror_log stderr;\nevents {{}}\n"
        f"http {{\n access_log off;\n client_body_temp_path {folder}/a;\n proxy_temp_path {folder}/b;\n"
        f" fastcgi_temp_path {folder}/c;\n uwsgi_temp_path {folder}/d;\n scgi_temp_path {folder}/e;\n"
        f" server {{\n  listen unix:{folder}/socket;\n  location / {{\n   proxy_pass http://127.0.0.1:{behind};\n"
        "   proxy_http_version 1.1;\n   proxy_set_header Upgrade $http_upgrade;\n"
        "   proxy_set_header Connection upgrade;\n  }\n }\n}\n"
    )
    command = program("nginx"), "-e", "stderr", "-p", str(folder), "-c", str(folder / "nginx.conf")
    with process(*command, path=str(folder / "socket")):
        yield str(folder / "socket")


PROXIES = {"tinyproxy": tinyproxy, "dante": dante, "pproxy": pproxy}


def program(name):
    path = shutil.which(name, path="/usr/local/bin:/usr/bin:/usr/local/sbin:/usr/sbin")
    if path is None:
        pytest.skip(f"{name} is not installed (Debian has a package)")
    return path


def module(name):
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed (it is in the extra 'proxies')")
    return name


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as sock:
        return sock.getsockname()[1]


@contextlib.contextmanager
def process(*command, port=None, path=None):
    """Runs it, from when it takes connections."""
    started = subprocess.Popen(  # noqa: S603
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        deadline = time.monotonic() + PATIENCE
        while not takes_connections(port, path):
            assert started.poll() is None, f"{command[0]} has ended by itself"
            assert time.monotonic() < deadline, f"{command[0]} does not start"
            time.sleep(0.01)
        yield
    finally:
        started.send_signal(signal.SIGTERM)
        try:
            started.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            started.kill()
            started.wait()


def takes_connections(port, path):
    with socket.socket(socket.AF_INET if path is None else socket.AF_UNIX) as sock:
        return sock.connect_ex(("127.0.0.1", port) if path is None else path) == 0
