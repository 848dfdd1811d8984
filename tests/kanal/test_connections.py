"""Limits of HTTP connections on a real uvicorn: who comes when all places are taken by those who only wait."""

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
import uvicorn

from kanal.connections import LimitedHttp

MOST = 5
PATIENCE_SECONDS = 10.0


async def application(_scope: Any, _receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"0")]})
    await send({"type": "http.response.body"})


@pytest.fixture(params=["asyncio", "uvloop"])
def port(request: pytest.FixtureRequest) -> Iterator[int]:
    """Of a server with so few places, on each of the loops that uvicorn may choose: they order a connection's calls differently."""
    config = uvicorn.Config(
        application,
        log_config=None,
        lifespan="off",
        http=LimitedHttp,
        limit_concurrency=MOST + 1,
        timeout_keep_alive=30,
        loop=request.param,
    )
    server = uvicorn.Server(config)
    listening = socket.create_server(("127.0.0.1", 0), backlog=100)
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    yield listening.getsockname()[1]
    server.should_exit = True
    thread.join(PATIENCE_SECONDS)


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), PATIENCE_SECONDS)


def status(connection: socket.socket) -> bytes:
    connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    return connection.recv(1_000).split(b" ")[1]


def test_who_comes_when_all_places_are_taken_is_served(port: int) -> None:
    """However quick the request is behind the connection, and however many idle ones came at once."""
    with ExitStack() as held:
        for _ in range(10 * MOST):
            held.enter_context(connected(port))
        statuses = [status(held.enter_context(connected(port))) for _ in range(MOST)]
        assert statuses == [b"200"] * MOST


def test_a_long_body_of_short_lines_is_no_body_of_tiny_chunks(port: int) -> None:
    """Line ends count against a connection only where they end chunks."""
    body = b"a\r\n" * 50_000
    with connected(port) as connection:
        connection.sendall(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body))
        for start in range(0, len(body), 1_000):
            connection.sendall(body[start : start + 1_000])
        assert connection.recv(1_000).split(b" ")[1] == b"200"
