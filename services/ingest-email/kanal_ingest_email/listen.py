"""The SMTP listener and its limits: connections, commands, bytes of mail in memory. Not here: what is answered (receive.py).

aiosmtpd limits none of these, and keeps a mail as one object a line: 24 MB of short lines are a gigabyte.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP

from kanal.errors import SetupError
from kanal_ingest_email.receive import MAX_MAIL_BYTES, MailReceiver
from kanal_ingest_email.settings import EmailSettings

MAX_ANSWERS = 100
"""Answers that one connection gets before a mail of its is settled. An honest mail takes ten, and one for each recipient."""

SMALL_BYTES = 64 * 1024
"""So much of every mail is taken even when large ones fill the memory: a report without a photo always gets in."""

YOUNG_SECONDS = 5.0
"""A connection does not make room for a newer one before it had so much time for its mail."""

_FULL = "421 4.3.2 too many connections, try again later"
_END = b"\r\n.\r\n"


class SmtpListener:
    """See `kanal.service.Listener`. aiosmtpd runs in a thread of its own. With `tls` it offers STARTTLS and demands it of nobody."""

    def __init__(self, receiver: MailReceiver, settings: EmailSettings, tls: ssl.SSLContext | None = None) -> None:
        self._controller = _Controller(receiver, settings, tls)

    def start(self) -> None:
        self._controller.start()

    def stop(self) -> None:
        self._controller.stop()


class _Controller(Controller):
    def __init__(self, receiver: MailReceiver, settings: EmailSettings, tls: ssl.SSLContext | None) -> None:
        super().__init__(
            receiver, hostname=settings.smtp_host, port=settings.smtp_port, ready_timeout=10, ident="Kanal", tls_context=tls,
            data_size_limit=MAX_MAIL_BYTES,
            # Without it the name service is asked at every connection.
            server_hostname=settings.email_address.rpartition("@")[2],
        )  # fmt: skip
        self._held = _Held(settings)

    def factory(self) -> Any:
        return _Door(self._held, self)

    def session(self) -> "_Session":
        return _Session(self._held, self.handler, **self.SMTP_kwargs, loop=self.loop)


class _Held:
    """What all connections hold together. Only the listener's own thread comes here."""

    def __init__(self, settings: EmailSettings) -> None:
        self.max_connections = settings.smtp_connections
        self.max_of_a_peer = settings.smtp_connections_per_peer
        self.max_bytes = settings.smtp_mail_megabytes * 1024 * 1024
        self.sessions: dict[_Session, str] = {}
        """Each with its peer's address, the oldest first."""

        self.bytes = 0
        self.mails: set[asyncio.Task[str]] = set()


class _Door(asyncio.Protocol):
    """Looks at a new connection before anything is made for it."""

    def __init__(self, held: _Held, controller: _Controller) -> None:
        self._held = held
        self._controller = controller

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        peer = str((transport.get_extra_info("peername") or [""])[0])
        if list(self._held.sessions.values()).count(peer) >= self._held.max_of_a_peer:
            _hang_up(transport, "421 4.7.0 too many connections from your address, try again later")
            return
        if len(self._held.sessions) >= self._held.max_connections:
            oldest = next(iter(self._held.sessions))
            if oldest.is_young():
                _hang_up(transport, _FULL)
                return
            oldest.end(_FULL)
        session = self._controller.session()
        self._held.sessions[session] = peer
        transport.set_protocol(session)
        session.connection_made(transport)


class _Session(SMTP):
    """One connection."""

    def __init__(self, held: _Held, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._held = held
        self._answers = 0
        self._bytes = 0
        self._opened_at = self.loop.time()

    def is_young(self) -> bool:
        return self.loop.time() - self._opened_at < YOUNG_SECONDS

    def connection_lost(self, error: Exception | None) -> None:
        self._held.sessions.pop(self, None)
        super().connection_lost(error)

    def end(self, answer: str) -> None:
        """Say so and hang up."""
        self._held.sessions.pop(self, None)
        if self.transport is not None:
            _hang_up(self.transport, answer)

    async def push(self, status: Any) -> None:
        self._answers += 1
        if self._answers > MAX_ANSWERS:
            self.end("421 4.7.0 too many commands without a mail")
            await asyncio.sleep(0)  # here the loss of the connection ends this task
        await super().push(status)

    async def smtp_DATA(self, arg: str | None) -> None:  # noqa: N802 (aiosmtpd's name)
        """As in aiosmtpd, but the mail is read in pieces of any length, and settled also when its sender hangs up meanwhile.

        Otherwise one could fill the memory with mails that are still worked on after their connections have gone.
        """
        assert self.envelope is not None
        if await self.check_helo_needed():
            return
        if arg or not self.envelope.rcpt_tos:
            await self.push("501 Syntax: DATA" if arg else "503 Error: need RCPT command")
            return
        await self.push("354 End data with <CR><LF>.<CR><LF>")
        mail = asyncio.create_task(self._take_mail())
        self._held.mails.add(mail)
        mail.add_done_callback(self._held.mails.discard)
        answer = await asyncio.shield(mail)
        self._answers = 0
        await self.push(answer)

    async def _take_mail(self) -> str:
        """The answer to the mail that comes now."""
        assert self.envelope is not None
        try:
            pieces = await self._read_mail()
            if isinstance(pieces, str):
                return pieces
            self.envelope.original_content = _without_extra_dots(pieces)
            return str(await self._call_handler_hook("DATA"))
        except (asyncio.IncompleteReadError, ConnectionError):
            return "451 4.4.2 the connection was lost"
        finally:
            self._let_go()
            self.envelope = self._create_envelope()

    async def _read_mail(self) -> list[bytes] | str:
        """The mail in pieces, or why it is not taken; then the rest of it is read and thrown away, within reason."""
        pieces: list[bytes] = []
        size, refusal = 0, ""
        async for piece in self._pieces():
            size += len(piece)
            refusal = refusal or self._objection(size)
            if refusal:
                pieces.clear()
                self._let_go()
            else:
                pieces.append(piece)
            if size > 2 * MAX_MAIL_BYTES:
                self.end(refusal)
                raise ConnectionAbortedError
        return refusal or pieces

    def _objection(self, size: int) -> str:
        if size > MAX_MAIL_BYTES:
            return "552 5.3.4 the mail is too large"
        more = max(0, size - SMALL_BYTES) - self._bytes
        if self._held.bytes + more > self._held.max_bytes:
            return "452 4.3.1 too much mail at once, try again later"
        self._held.bytes += more
        self._bytes += more
        return ""

    def _let_go(self) -> None:
        self._held.bytes -= self._bytes
        self._bytes = 0

    async def _pieces(self) -> AsyncIterator[bytes]:
        """The mail with the line break in front of it, dots still doubled, without the dot that ends it."""
        self._reader._buffer[:0] = b"\r\n"  # type: ignore[attr-defined]  # the dot that ends it may stand on the first line
        while True:
            try:
                last = await self._reader.readuntil(_END)
            except asyncio.LimitOverrunError as more:
                yield await self._reader.read(more.consumed)
            else:
                yield last[:-3]
                return


def _hang_up(transport: Any, answer: str) -> None:
    """Without waiting for somebody who does not read."""
    transport.write(answer.encode() + b"\r\n")
    transport.abort()


def _without_extra_dots(pieces: list[bytes]) -> bytes:
    """RFC 5321 section 4.5.2. Empties `pieces`: the mail is in memory only twice, and not for long."""
    pieces[0] = pieces[0].removeprefix(b"\r\n").removeprefix(b".")
    content = b"".join(pieces)
    pieces.clear()
    return content.replace(b"\r\n.", b"\r\n")


def receiver_tls(certificate: Path, key: Path) -> ssl.SSLContext:
    """What STARTTLS shows to mail servers; read once, so restart after a renewal. *Raises:* SetupError."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate, key, password="")
    except (ssl.SSLError, OSError) as error:
        raise SetupError(f"KANAL_SMTP_CERTIFICATE and KANAL_SMTP_KEY cannot be used ({_kind(error)})") from None
    return context


def _kind(error: OSError) -> str:
    return (error.reason if isinstance(error, ssl.SSLError) else error.strerror) or type(error).__name__
