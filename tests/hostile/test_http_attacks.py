"""Requests that are made to hurt, sent to a running Kanal: refused at little cost, while other citizens are heard."""

import contextlib
import json
import socket
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.hostile.attack import CPU_SECONDS, MEGABYTES, answer_to, connected, under_attack
from tests.hostile.conftest import HTTP_SECONDS
from tests.hostile.meter import Cost
from tests.pipeline.town import Town
from tests.servers.gateway import SIGNATURE_HEADER, sign

pytestmark = pytest.mark.servers

MB = 1024 * 1024
INBOUND = "/sms/main/inbound"


def ask(town: Town, request: bytes) -> bytes:
    """All that is answered to these bytes until Kanal closes the connection, as it must."""
    with connected(town.kanal.http_port) as connection, ThreadPoolExecutor(1) as pool:
        said = pool.submit(answer_to, connection)
        with contextlib.suppress(OSError):  # it is done with us already
            connection.sendall(request)
        return said.result()


def statuses(said: bytes) -> list[int]:
    return [int(piece[:3]) for piece in said.split(b"HTTP/1.1 ")[1:]]


def get(target: bytes, *fields: bytes) -> bytes:
    return b"\r\n".join([b"GET " + target + b" HTTP/1.1", b"Host: localhost", b"Connection: close", *fields, b"", b""])


def webhook(town: Town, body: bytes, content_type: str = "application/json") -> bytes:
    """Rightly signed."""
    head = f"POST {INBOUND} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: {content_type}\r\n"
    signature = f"{SIGNATURE_HEADER}: {sign(town.kanal.sms_secret, body)}\r\nContent-Length: {len(body)}\r\n\r\n"
    return (head + signature).encode() + body


def deep(opening: str, closing: str) -> bytes:
    return ('{"id": "1", "from": "+6281200000099", "to": "1", "text": ' + opening * 30_000 + closing * 30_000 + "}").encode()


REQUESTS: list[tuple[str, set[int], Callable[[Town], bytes]]] = [
    ("a body of 10 MB", {413}, lambda town: webhook(town, b"x" * 10 * MB)),
    ("a body of 10 MB in chunks", {413}, lambda _: get(INBOUND.encode()).replace(b"GET", b"POST")[:-2] + b"Transfer-Encoding: chunked\r\n\r\n" + b"a00000\r\n" + b"x" * 10 * MB + b"\r\n0\r\n\r\n"),
    ("chunks of one byte", set(), lambda _: get(INBOUND.encode()).replace(b"GET", b"POST")[:-2] + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 100_000 + b"0\r\n\r\n"),
    ("a query of 10 MB", {400}, lambda _: get(b"/?number=" + b"x" * 10 * MB)),
    ("a query of 60 KB", {400}, lambda _: get(b"/?number=" + b"x" * 60_000)),
    ("10,000 parameters", {200, 400}, lambda _: get(b"/?" + b"&".join(b"a%d" % at for at in range(9_000)))),
    ("a header of 10 MB", {400}, lambda _: get(b"/", b"X-Long: " + b"y" * 10 * MB)),
    ("a million headers", {400}, lambda _: get(b"/", *[b"X: y"] * 1_000_000)),
    ("10,000 headers", {200}, lambda _: get(b"/", *[b"X: y"] * 9_000)),
    ("a line that never ends", {400}, lambda _: b"GET /" + b"x" * 20 * MB),
    ("lists in lists, 100,000 deep", {413}, lambda town: webhook(town, b"[" * 100_000)),
    ("lists in lists, 30,000 deep", {422}, lambda town: webhook(town, deep("[", "]"))),
    ("objects in objects", {422}, lambda town: webhook(town, b'{"a":' * 10_000 + b"1" + b"}" * 10_000)),
    ("a number of 60,000 digits", {422}, lambda town: webhook(town, b'{"id": ' + b"9" * 60_000 + b"}")),
    ("an exponent beyond everything", {422}, lambda town: webhook(town, b'{"id": 1e999999999}')),
    ("the same key 10,000 times", {422}, lambda town: webhook(town, b'{"id": "1",' + b'"a": 1,' * 8_000 + b'"b": 1}')),
    ("a form of 30,000 fields", {422}, lambda town: webhook(town, b"a=1&" * 15_000, "application/x-www-form-urlencoded")),
    ("a form of percent signs", {422}, lambda town: webhook(town, b"id=" + b"%" * 60_000, "application/x-www-form-urlencoded")),
    ("multipart", {422}, lambda town: webhook(town, b"--b\r\nContent-Disposition: form-data; name=id\r\n\r\n1\r\n" * 1_000, "multipart/form-data; boundary=b")),
    ("staff actions, deep", {401}, lambda _: get(b"/api/v1/reports/JK-2222-2222-2222/actions").replace(b"GET", b"POST")[:-2] + b"Content-Length: 60000\r\n\r\n" + b"[" * 60_000),
]  # fmt: skip


@pytest.mark.parametrize(("expected", "make"), [pytest.param(expected, make, id=name) for name, expected, make in REQUESTS])
def test_a_request_made_to_hurt_costs_little(town: Town, expected: set[int], make: Callable[[Town], bytes]) -> None:
    """It is refused for two seconds of processor time and 200 MB at most, and others are heard meanwhile."""
    request = make(town)
    answers, cost = under_attack(town, lambda town: statuses(ask(town, request)))
    assert set(answers) <= expected, answers
    assert len(answers) <= 1
    cheap(cost)


def cheap(cost: Cost) -> None:
    assert cost.cpu_seconds < CPU_SECONDS, cost
    assert cost.growth_megabytes < MEGABYTES, cost


PATHS = [
    b"/../../../../etc/passwd", b"/r/..%2f..%2f..%2fetc%2fpasswd", b"/r/%2e%2e/%2e%2e/etc/passwd", b"//etc/passwd", b"/r/%00", b"/r/%ff%fe",
    b"/r/%ed%a0%80", b"/%c0%ae%c0%ae/", b"http://elsewhere.example/metrics", b"/r/" + b"a" * 50_000, b"/" + b"/" * 50_000, b"/r/JK%0d%0aX-Split:%20yes",
    b"/?number=%0d%0aX-Split:%20yes", b"/?lang=%0d%0aX-Split:%20yes&number=JK-2222-2222-2222", b"/api/v1/reports/..;/metrics", b"/sms/../metrics",
    b"/sms/%2e%2e/inbound", b"*", b"/api/v1/reports/" + b"%F0%9F%98%80" * 3_000, b"/?number={{7*7}}", b"/r/<script>alert(1)</script>",
]  # fmt: skip


@pytest.mark.parametrize("target", PATHS)
def test_no_path_leads_out(town: Town, target: bytes) -> None:
    """Whatever stands in the path or query: a page of ours, or a refusal; never a file, a failure or a header of the sender's."""
    said = ask(town, get(target))
    assert len(statuses(said)) == 1, said[:500]
    assert statuses(said)[0] < 500
    head = said.partition(b"\r\n\r\n")[0].lower()
    assert b"root:" not in said
    assert b"\nx-split" not in head
    assert b"<script>alert" not in said
    assert b">49<" not in said


SMUGGLED = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
SHAPES = {
    "length and chunks": b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" % (5 + len(SMUGGLED)) + SMUGGLED,
    "chunks and length": b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "two lengths": b"Content-Length: 0\r\nContent-Length: %d\r\n\r\n" % len(SMUGGLED) + SMUGGLED,
    "lengths in a list": b"Content-Length: 0, %d\r\n\r\n" % len(SMUGGLED) + SMUGGLED,
    "signed length": b"Content-Length: +0\r\n\r\n" + SMUGGLED,
    "negative length": b"Content-Length: -1\r\n\r\n" + SMUGGLED,
    "length in hexadecimal": b"Content-Length: 0x0\r\n\r\n" + SMUGGLED,
    "chunked twice": b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "chunked then plain": b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "chunked with a tail": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "chunked behind a tab": b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n" + SMUGGLED,
    "blank before the colon": b"Content-Length : 0\r\n\r\n" + SMUGGLED,
    "length of a chunk with a sign": b"Transfer-Encoding: chunked\r\n\r\n+0\r\n\r\n" + SMUGGLED,
    "length of a chunk beyond all": b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffffff0\r\n\r\n" + SMUGGLED,
    "NUL in a header": b"X: a\x00b\r\n\r\n" + SMUGGLED,
}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())
def test_no_second_request_is_smuggled_in(town: Town, shape: bytes) -> None:
    """Two servers must not read one stream in two ways: a request of doubtful length is refused and the connection closed."""
    said = ask(town, b"POST /sms/main/inbound HTTP/1.1\r\nHost: localhost\r\n" + shape)
    assert b'{"ok":true}' not in said
    assert all(400 <= status <= 501 and status != 500 for status in statuses(said)), said
    assert len(statuses(said)) <= 1


def test_who_sends_byte_by_byte_is_hung_up_on(town: Town) -> None:
    """Headers and bodies that never end hold a connection no longer than a request may take; nobody must be woken for it."""
    head = b"GET / HTTP/1.1\r\nX-Long: "
    body = f"POST {INBOUND} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 60000\r\n\r\n".encode()
    second = get(b"/healthz").replace(b"Connection: close\r\n", b"") + head

    def drip(town: Town) -> list[str]:
        held = {name: connected(town.kanal.http_port) for name in ("nothing", "head", "body", "second")}
        for name, start in (("head", head), ("body", body), ("second", second)):
            held[name].sendall(start)
        with ThreadPoolExecutor(len(held)) as pool:
            ends = {name: pool.submit(_drip_until_closed, connection) for name, connection in held.items() if name != "nothing"}
            ends["nothing"] = pool.submit(answer_to, held["nothing"])
        for connection in held.values():
            connection.close()
        return [name for name, end in ends.items() if end.exception() is None]

    ended, cost = under_attack(town, drip)
    assert sorted(ended) == ["body", "head", "nothing", "second"]
    cheap(cost)
    assert "request_failed" not in town.kanal.logs()


def _drip_until_closed(connection: socket.socket) -> bytes:
    """A byte ten times a second, for ten times as long as is allowed. *Raises:* TimeoutError when nobody minds."""
    said = b""
    connection.settimeout(0.1)
    for _ in range(100 * HTTP_SECONDS):
        try:
            connection.sendall(b"x")
            chunk = connection.recv(65_536)
        except TimeoutError:
            continue
        except OSError:
            return said
        if not chunk:
            return said
        said += chunk
    raise TimeoutError


def test_a_thousand_idle_connections_keep_nobody_out(town: Town) -> None:
    """The oldest of those that send nothing make room."""
    held: list[socket.socket] = []
    try:
        _, cost = under_attack(town, lambda town: held.extend(connected(town.kanal.http_port) for _ in range(1_000)))
    finally:
        for connection in held:
            connection.close()
    cheap(cost)


def test_a_body_of_which_the_half_comes_is_nobody_s_failure(town: Town) -> None:
    """Who hangs up in the middle leaves no error in the log and no message behind."""
    request = webhook(town, json.dumps({"id": uuid.uuid4().hex, "from": "+6281200000077", "to": "1", "text": "x" * 5_000}).encode())
    with connected(town.kanal.http_port) as connection:
        connection.sendall(request[: len(request) // 2])
    assert requests.get(f"{town.kanal.url}/healthz", timeout=10).ok
    assert "request_failed" not in town.kanal.logs()
