"""The mail server of the citizens: keeps what Kanal sends, and answers badly when told to."""

import asyncio
import email
import email.policy
import ssl
import threading
from collections import deque
from collections.abc import Callable
from email.message import EmailMessage
from typing import Any, NamedTuple, Self, cast

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from tests.servers.certificates import Certificate
from tests.servers.processes import free_port


class Received(NamedTuple):
    """One mail as it came over the wire."""

    sender: str
    """Envelope sender; empty for bounces and automatic answers."""
    recipients: list[str]
    message: EmailMessage
    raw: bytes


class Mailbox:
    """A real SMTP server that takes mail for anybody.

    `messages` holds every mail that was answered with 250, plus those kept before a drop; not the refused ones.
    """

    def __init__(
        self, port: int | None = None, host: str = "127.0.0.1", certificate: Certificate | None = None, login: tuple[str, str] | None = None
    ) -> None:
        """With `certificate` it takes mail only after STARTTLS, with `login` only from that user with that password."""
        self.port = free_port() if port is None else port
        self.host = host
        self._certificate = certificate
        self._login = login
        self.drop_after_data = 0
        """So many next mails are kept, but the connection is lost before the sender hears 250."""
        self._kept: list[Received] = []
        self._answers: deque[str] = deque()
        self._changed = threading.Condition()
        self._controller: Controller | None = None

    def start(self) -> Self:
        """Starts listening; after `stop` again on the same port with what was kept."""
        self._controller = Controller(
            _Handler(self), hostname=self.host, port=self.port, server_hostname="mailbox.invalid", **self._access(),
        )  # fmt: skip
        self._controller.start()
        return self

    def stop(self) -> None:
        if self._controller is not None:
            self._controller.stop()
            self._controller = None

    def _access(self) -> dict[str, Any]:
        if self._certificate is None:
            return {}
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*self._certificate)
        return {
            "tls_context": context, "require_starttls": True, "auth_required": self._login is not None, "authenticator": self._check,
        }  # fmt: skip

    def _check(self, _server: SMTP, _session: Session, _envelope: Envelope, _mechanism: str, given: object) -> AuthResult:
        user, password = self._login or ("", "")
        return AuthResult(success=given == LoginPassword(user.encode(), password.encode()), handled=False)

    @property
    def messages(self) -> list[Received]:
        with self._changed:
            return list(self._kept)

    def wait_for(self, predicate: Callable[[list[Received]], bool], timeout_seconds: float = 10) -> list[Received]:
        """The messages, once they fulfil the predicate. *Raises:* TimeoutError when they do not in time."""
        with self._changed:
            if not self._changed.wait_for(lambda: predicate(self._kept), timeout_seconds):
                raise TimeoutError(f"{len(self._kept)} mails after {timeout_seconds:g} s, not those waited for")
            return list(self._kept)

    def answer_next(self, answer: str, count: int = 1) -> None:
        """Answers the next mails so ("451 4.3.0 later") after their data, without keeping them."""
        with self._changed:
            self._answers.extend([answer] * count)

    def receive(self, envelope: Envelope) -> str | None:
        """The answer to a mail, or None for a lost connection."""
        with self._changed:
            if self._answers:
                return self._answers.popleft()
            self._kept.append(_received(envelope))
            self._changed.notify_all()
            if self.drop_after_data:
                self.drop_after_data -= 1
                return None
            return "250 2.0.0 kept"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()


def _received(envelope: Envelope) -> Received:
    raw = envelope.original_content or b""
    message = email.message_from_bytes(raw, policy=email.policy.default)
    return Received(envelope.mail_from or "", list(envelope.rcpt_tos), message, raw)


class _Handler:
    """The name of the method is aiosmtpd's."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox

    async def handle_DATA(self, server: SMTP, _session: Session, envelope: Envelope) -> str:
        answer = self._mailbox.receive(envelope)
        if answer is None:
            cast("asyncio.Transport", server.transport).abort()
        return answer or "421 the connection is gone, nobody reads this"
