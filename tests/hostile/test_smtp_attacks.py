"""Mail that is made to hurt, sent to a running Kanal: refused or settled at little cost, while other citizens are heard."""

import base64
import io
import socket
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from kanal.testing import number
from tests.hostile.attack import CPU_SECONDS, MEGABYTES, answer_to, codes, connected, under_attack
from tests.pipeline.town import Town

pytestmark = pytest.mark.servers

MB = 1024 * 1024
ATTACKER = "127.0.0.66"
ENVELOPE = b"EHLO jahat.example\r\nMAIL FROM:<jahat@warga.example>\r\nRCPT TO:<lapor@localhost>\r\nDATA\r\n"
HEAD = b"From: jahat@warga.example\r\nSubject: lampu jalan mati\r\nMIME-Version: 1.0\r\n"


def deliver(town: Town, raw: bytes, peer: str = ATTACKER) -> Sequence[int]:
    """The codes that a client hears which sends this mail and QUIT without waiting for any answer but the first ones."""
    with connected(town.kanal.smtp_port, peer) as connection:
        said = b""
        try:
            connection.sendall(ENVELOPE)
            while b"354" not in said and (chunk := connection.recv(4_096)):
                said += chunk
            if b"354" in said:
                connection.sendall(raw.removesuffix(b"\r\n") + b"\r\n.\r\nQUIT\r\n")
        except OSError:  # hung up on while it was still sending
            pass
        return codes(said + answer_to(connection))


def text(content_type: bytes, body: bytes, encoding: bytes = b"8bit") -> bytes:
    return HEAD + b"Content-Type: " + content_type + b"\r\nContent-Transfer-Encoding: " + encoding + b"\r\n\r\n" + body + b"\r\n"


def html(body: bytes) -> bytes:
    return text(b"text/html; charset=utf-8", body)


def lines(content: bytes, width: int = 76) -> bytes:
    return b"\r\n".join(content[at : at + width] for at in range(0, len(content), width))


def attached(content: bytes, media_type: bytes = b"application/zip") -> bytes:
    """A report with one file."""
    return (
        HEAD + b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n--b\r\nContent-Type: text/plain\r\n\r\nlampu jalan mati\r\n--b\r\n'
        b"Content-Type: " + media_type + b"\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=a.zip\r\n\r\n"
        + lines(base64.b64encode(content)) + b"\r\n--b--\r\n"
    )  # fmt: skip


def zip_bomb() -> bytes:
    """Half a megabyte that unpacks to 512."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("laporan.txt", "w", force_zip64=True) as file:
        for _ in range(512):
            file.write(bytes(MB))
    return packed.getvalue()


def nested(levels: int) -> bytes:
    """A multipart in a multipart in a multipart."""
    opened = b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (at, at) for at in range(levels))
    return HEAD + opened + b"Content-Type: text/plain\r\n\r\nlampu\r\n" + b"".join(b"--b%d--\r\n" % at for at in reversed(range(levels)))


def parts(count: int) -> bytes:
    return (
        HEAD + b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\nContent-Type: text/plain\r\n\r\nx\r\n" * count + b"--b--\r\n"
    )


KEPT, REFUSED, TOO_LARGE = 250, 554, 552

BAD_MAIL = [
    pytest.param(lambda: attached(zip_bomb()), KEPT, id="zip bomb"),
    pytest.param(lambda: attached(bytes(30 * MB)), TOO_LARGE, id="attachment of 30 MB"),
    pytest.param(lambda: attached(bytes(17 * MB)), KEPT, id="attachment of 17 MB"),
    pytest.param(lambda: b"X-Long: " + b"y" * 90 + b"\r\n" + (b"X-More: " + b"y" * 990 + b"\r\n") * 50_000 + b"\r\ntext", TOO_LARGE, id="header of 50 MB"),
    pytest.param(lambda: HEAD + b"X-Long: y\r\n" + (b" " + b"y" * 90 + b"\r\n") * 110_000 + b"\r\ntext", REFUSED, id="one header of 10 MB, folded"),
    pytest.param(lambda: HEAD + b"X-Long: " + b"y" * 10 * MB + b"\r\n\r\ntext", REFUSED, id="one header of 10 MB in one line"),
    pytest.param(lambda: HEAD + b"To: " + b",\r\n ".join(b"orang%d@warga.example" % at for at in range(100_000)) + b"\r\n\r\ntext", REFUSED, id="100,000 addresses in To"),
    pytest.param(lambda: HEAD + b"To: " + b"(" * 200_000 + b"\r\n\r\nlampu mati", KEPT, id="comments without end in To"),
    pytest.param(lambda: HEAD + b"References: " + b"<a@b>\r\n " * 30_000 + b"\r\n\r\nlampu mati", KEPT, id="30,000 references"),
    pytest.param(lambda: parts(10_000), REFUSED, id="10,000 parts"),
    pytest.param(lambda: nested(100), REFUSED, id="100 levels"),
    pytest.param(lambda: nested(5_000), REFUSED, id="5,000 levels"),
    pytest.param(lambda: html(b"<div>" * 200_000 + b"lampu mati"), KEPT, id="200,000 nested tags"),
    pytest.param(lambda: html(b"<" * MB + b"lampu mati"), KEPT, id="a megabyte of <"),
    pytest.param(lambda: html(b"<p lampu" * 120_000), KEPT, id="tags that never end"),
    pytest.param(lambda: html(b"lampu &amp;" + b"&" * MB), KEPT, id="a megabyte of &"),
    pytest.param(lambda: html(b"lampu" + b"&NotGreaterFullEqual;" * 50_000), KEPT, id="a megabyte of entities"),
    pytest.param(lambda: html(b"<!DOCTYPE a [<!ENTITY a 'aaaa'>" + b"".join(b"<!ENTITY a%d '%s'>" % (at, b"&a;" * 20) for at in range(20)) + b"]>lampu &a19;"), KEPT, id="a billion laughs"),
    pytest.param(lambda: html(b"<table>" + b"<tr><td>lampu" * 80_000), KEPT, id="80,000 rows"),
    pytest.param(lambda: html(b"<a " + b"\r\n".join(b"a%d=1" % at for at in range(100_000)) + b">lampu"), KEPT, id="100,000 attributes"),
    pytest.param(lambda: html(b"<blockquote type=cite>" * 20_000 + b"lampu"), KEPT, id="20,000 quotes in one another"),
    pytest.param(lambda: text(b"text/plain", b"=\r\n" * 3 * MB, b"quoted-printable"), KEPT, id="quoted-printable that says nothing"),
    pytest.param(lambda: text(b"text/plain", b"=ZZ=1 =\xff" * 2 * MB, b"quoted-printable"), KEPT, id="quoted-printable garbage"),
    pytest.param(lambda: text(b"text/plain", lines(b"\xff=A" * 3 * MB), b"base64"), KEPT, id="base64 garbage"),
    pytest.param(lambda: text(b"text/plain", b"lampu " * (20 * MB // 6)), KEPT, id="a line of 20 MB"),
    pytest.param(lambda: text(b"text/plain", b"x\r\n" * 8 * MB), KEPT, id="24 MB of short lines"),
    pytest.param(lambda: text(b"text/plain", b"..\r\n" * 6 * MB), KEPT, id="24 MB of dots"),
    pytest.param(lambda: text(b"text/plain", b"0812 " * 20_000), KEPT, id="a hundred thousand telephone digits"),
    pytest.param(lambda: text(b"text/plain", f"{number()} ".encode() * 1_200), KEPT, id="one number twelve hundred times"),
    pytest.param(lambda: text(b"text/plain; charset=utf-8", ("é" + "\u0301" * 40_000).encode()), KEPT, id="40,000 accents on one letter"),
    pytest.param(lambda: text(b"text/plain; charset=utf-8", "\ufdfa".encode() * 30_000), KEPT, id="letters that normalise to eighteen"),
    pytest.param(lambda: text(b"text/plain", b"\n".join(b"> " * 40 + b"a" for _ in range(1_000))), KEPT, id="quotes in quotes"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "expected"), BAD_MAIL)
def test_a_mail_made_to_hurt_costs_little(town: Town, make: Callable[[], bytes], expected: int) -> None:
    """It is refused or settled for two seconds of processor time and 200 MB at most, and others are heard meanwhile."""
    raw = make()
    answers, cost = under_attack(town, lambda town: deliver(town, raw))
    assert expected in answers
    assert cost.cpu_seconds < CPU_SECONDS, cost
    assert cost.growth_megabytes < MEGABYTES, cost


def say(town: Town, content: bytes) -> Sequence[int]:
    """The codes for a stream of commands that waits for no answer."""
    with connected(town.kanal.smtp_port, ATTACKER) as connection, ThreadPoolExecutor(1) as pool:
        said = pool.submit(answer_to, connection)
        try:
            connection.sendall(content)
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        return codes(said.result())


STREAMS = [
    pytest.param(b"NOOP\r\n" * 10_000, id="10,000 NOOP"),
    pytest.param(b"EHLO x\r\n" * 10_000, id="10,000 EHLO"),
    pytest.param(ENVELOPE.removesuffix(b"DATA\r\n") + b"RCPT TO:<lapor@localhost>\r\n" * 100_000, id="100,000 recipients"),
    pytest.param(b"EHLO x\r\nMAIL FROM:<a@b.example>\r\n" + b"RCPT TO:<x@elsewhere.example>\r\n" * 100_000, id="100,000 strangers"),
    pytest.param(b"EHLO x\r\n" + b"MAIL FROM:<a@b.example>\r\nRSET\r\n" * 5_000, id="5,000 transactions"),
    pytest.param(b"\r\n" * 10_000, id="10,000 empty lines"),
    pytest.param(b"\xff\xfe\r\n" * 10_000, id="10,000 lines that are no ASCII"),
    pytest.param(b"XYZZY\r\n" * 10_000, id="10,000 unknown commands"),
    pytest.param(b"a" * 20 * MB, id="a command of 20 MB"),
    pytest.param(b"EHLO x\r\nMAIL FROM:<" + b"a" * 20 * MB + b">\r\n", id="an address of 20 MB"),
    pytest.param(b"AUTH PLAIN " + b"A" * 400 + b"\r\n" + b"AUTH LOGIN\r\n" * 10_000, id="10,000 AUTH"),
    pytest.param(ENVELOPE + b"x" * 200 * MB, id="200 MB of one line without end"),
    pytest.param(ENVELOPE + b"x\r\n" * 60 * MB, id="180 MB of mail without end"),
]


@pytest.mark.parametrize("content", STREAMS)
def test_a_flood_of_commands_costs_little(town: Town, content: bytes) -> None:
    """However many commands come in one go, and whatever they are: somebody else is heard, and the cost has a bound."""
    _, cost = under_attack(town, lambda town: say(town, content))
    assert cost.cpu_seconds < CPU_SECONDS, cost
    assert cost.growth_megabytes < MEGABYTES, cost


def test_a_thousand_idle_connections_keep_nobody_out(town: Town) -> None:
    """From one address most are turned away; from many, the oldest make room for the newest."""
    for peers in (1, 100):
        held: list[socket.socket] = []

        def hold(town: Town, peers: int = peers, held: list[socket.socket] = held) -> None:
            held += [connected(town.kanal.smtp_port, f"127.0.1.{at % peers + 1}") for at in range(1_000)]

        try:
            _, cost = under_attack(town, hold)
        finally:
            for connection in held:
                connection.close()
        assert cost.cpu_seconds < CPU_SECONDS, cost
        assert cost.growth_megabytes < MEGABYTES, cost


def test_forty_mails_of_20_megabytes_at_once_fill_no_memory(town: Town) -> None:
    """What does not fit is told to come later; small mails are taken all the same."""
    raw = attached(bytes(14 * MB))

    def all_at_once(town: Town) -> list[int]:
        with ThreadPoolExecutor(40) as pool:
            answers = pool.map(lambda at: deliver(town, raw, f"127.0.2.{at + 1}"), range(40))
            return [code for said in answers for code in said]

    answers, cost = under_attack(town, all_at_once)
    assert 452 in answers
    assert cost.growth_megabytes < MEGABYTES, cost


def test_mails_whose_senders_hang_up_fill_no_memory(town: Town) -> None:
    """A mail is counted until Kanal is done with it, not until its sender has gone."""
    raw = attached(bytes(14 * MB)).removesuffix(b"\r\n") + b"\r\n.\r\n"

    def one(at: int) -> None:
        with connected(town.kanal.smtp_port, f"127.0.4.{at + 1}") as connection, suppress(OSError):  # too much at once
            connection.sendall(ENVELOPE + raw)

    def all_at_once(_town: Town) -> None:
        with ThreadPoolExecutor(10) as pool:
            list(pool.map(one, range(20)))

    _, cost = under_attack(town, all_at_once)
    assert cost.growth_megabytes < MEGABYTES, cost


def test_a_byte_now_and_then_keeps_nobody_out(town: Town) -> None:
    """Slow senders in the middle of a mail hold no more than their own connection."""
    held = [connected(town.kanal.smtp_port, f"127.0.3.{at + 1}") for at in range(150)]

    def drip(_town: Town) -> None:
        for connection in held:
            connection.sendall(ENVELOPE + HEAD)
        for byte in b"lampu mati\r\n":
            for connection in held:
                try:
                    connection.sendall(bytes([byte]))
                except OSError:  # this one made room
                    continue

    try:
        _, cost = under_attack(town, drip)
    finally:
        for connection in held:
            connection.close()
    assert cost.cpu_seconds < CPU_SECONDS, cost
    assert cost.growth_megabytes < MEGABYTES, cost
