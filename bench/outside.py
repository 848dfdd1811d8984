"""Who asks Kanal from outside, as a process of its own: a gateway that posts at a set pace, people who look reports up.

`python -m bench.outside` reads one order as JSON and prints what came of it; `post` and `look_up` start it and wait. Its clock is
the machine's monotonic one, the same in every process.
"""

import asyncio
import json
import random
import subprocess
import sys
import time

import msgspec
import uvloop

from tests.servers.gateway import SIGNATURE_HEADER, sign
from tests.servers.kanal import PROJECT


class Posts(msgspec.Struct, tag=True):
    """Post these bodies, one each `1 / rate` seconds, whether earlier ones are answered or not; rate 0 = all at once."""

    port: int
    path: str
    secret: str
    bodies: list[dict[str, str]]
    rate: float
    connections: int


class Lookups(msgspec.Struct, tag=True):
    """Get paths at random, on each connection the next when the last is answered."""

    port: int
    paths: list[str]
    seconds: float
    connections: int


class Asked(msgspec.Struct):
    """One request: when it was to be sent, when its answer was there, and the answer."""

    planned: float
    answered: float
    status: int
    answer: str

    @property
    def seconds(self) -> float:
        """Counted from the planned time: waiting for a free connection is Kanal's, not the gateway's."""
        return self.answered - self.planned


def ask(order: Posts | Lookups) -> list[Asked]:
    """What came of it, done by another process. *Raises:* RuntimeError when an answer was not 200."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.outside"], input=msgspec.json.encode(order), stdout=subprocess.PIPE, cwd=PROJECT, check=True
    )
    asked = msgspec.json.decode(done.stdout, type=list[Asked])
    if refused := [each for each in asked if each.status != 200]:
        raise RuntimeError(f"{len(refused)} of {len(asked)} requests failed; one with {refused[0].status}: {refused[0].answer}")
    return asked


def main() -> None:
    """One order."""
    order = msgspec.json.decode(sys.stdin.buffer.read(), type=Posts | Lookups)
    asked = uvloop.run(_post(order) if isinstance(order, Posts) else _look_up(order))
    # Not `sys.stdout`: with PYTHONUNBUFFERED it takes a part of some megabytes and does not say so.
    with open(sys.stdout.fileno(), "wb", closefd=False) as output:
        output.write(msgspec.json.encode(asked))


class _Connection:
    """Kept alive, one request at a time; opened again when the other side has closed it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader | None = None

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Status and body. Asks once more where the connection was closed: nginx ends one after a thousand requests."""
        try:
            return await self._ask(request)
        except (ConnectionError, asyncio.IncompleteReadError):
            self._reader = None
            return await self._ask(request)

    async def _ask(self, request: bytes) -> tuple[int, bytes]:
        if self._reader is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writer.write(request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        body = await self._reader.readexactly(length)
        if b"\r\nconnection: close" in head:
            self._writer.close()
            self._reader = None
        return int(head.split(b" ", 2)[1]), body


async def _post(order: Posts) -> list[Asked]:
    requests = [_posted(order, body) for body in order.bodies]
    free: asyncio.LifoQueue[_Connection] = asyncio.LifoQueue()
    for _ in range(order.connections):
        free.put_nowait(_Connection(order.port))
    started = time.monotonic() + 0.1
    times = [started + (index / order.rate if order.rate else 0.0) for index in range(len(requests))]
    return await asyncio.gather(*(_post_one(free, request, planned) for request, planned in zip(requests, times, strict=True)))


async def _post_one(free: "asyncio.LifoQueue[_Connection]", request: bytes, planned: float) -> Asked:
    await asyncio.sleep(max(0.0, planned - time.monotonic()))
    connection = await free.get()
    status, body = await connection.ask(request)
    free.put_nowait(connection)
    return Asked(planned, time.monotonic(), status, body.decode())


def _posted(order: Posts, fields: dict[str, str]) -> bytes:
    body = json.dumps(fields).encode()
    head = (
        f"POST {order.path} HTTP/1.1\r\nHost: 127.0.0.1:{order.port}\r\nContent-Type: application/json\r\n"
        f"{SIGNATURE_HEADER}: {sign(order.secret, body)}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _look_up(order: Lookups) -> list[Asked]:
    until = time.monotonic() + order.seconds
    each = await asyncio.gather(*(_keep_looking(order, until) for _ in range(order.connections)))
    return [asked for one in each for asked in one]


async def _keep_looking(order: Lookups, until: float) -> list[Asked]:
    connection = _Connection(order.port)
    done = []
    while (began := time.monotonic()) < until:
        request = f"GET {random.choice(order.paths)} HTTP/1.1\r\nHost: 127.0.0.1:{order.port}\r\n\r\n"
        status, body = await connection.ask(request.encode())
        done.append(Asked(began, time.monotonic(), status, "" if status == 200 else body.decode()))
    return done


if __name__ == "__main__":
    main()
