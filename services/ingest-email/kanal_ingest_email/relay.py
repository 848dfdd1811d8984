"""The SMTP relay that takes answers: connections, STARTTLS, login, and what its refusals mean."""

import smtplib
import ssl
import threading
from email.message import EmailMessage
from pathlib import Path

from kanal.errors import SetupError, TemporaryFailure
from kanal.sending import AnswerLost, Undeliverable

TIMEOUT_SECONDS = 20


class Relay:
    """Connections to the relay, one a thread, kept open and made anew when they break.

    With `tls` by STARTTLS: where its certificates are verified, never without; else if it is offered. `login` is user and password.
    """

    def __init__(self, address: str, tls: ssl.SSLContext | None = None, login: tuple[str, str] | None = None) -> None:
        host, _, port = address.rpartition(":")
        if not host or not port.isdigit():
            raise SetupError("KANAL_SMTP_RELAY must be host:port")
        self._host, self._port = host, int(port)
        self._tls, self._login = tls, login
        self._of_thread = _OfThread()

    def send(self, mail: EmailMessage, sender: str, recipient: str) -> None:
        """*Raises:* TemporaryFailure, AnswerLost, Undeliverable."""
        connection = self._connected()
        try:
            connection.send_message(mail, from_addr=sender, to_addrs=[recipient])
        except smtplib.SMTPRecipientsRefused as error:
            code = next(iter(error.recipients.values()))[0]
            raise _refusal(code) from None
        except (smtplib.SMTPSenderRefused, smtplib.SMTPHeloError) as error:  # our set-up is wrong, not the citizen's address
            self._drop()
            raise TemporaryFailure(f"the relay refuses us ({error.smtp_code})", reason=f"relay-{error.smtp_code}") from None
        except smtplib.SMTPNotSupportedError:
            raise Undeliverable(reason="address-not-sendable") from None
        except smtplib.SMTPResponseException as error:
            self._drop()
            raise _refusal(error.smtp_code) from None
        except (smtplib.SMTPException, OSError):
            self._drop()
            raise AnswerLost("the relay broke off", reason="relay-silent") from None
        except (UnicodeError, ValueError):
            raise Undeliverable(reason="address-not-sendable") from None

    def _connected(self) -> smtplib.SMTP:
        if (connection := self._of_thread.connection) is not None:
            try:
                if connection.noop()[0] == 250:
                    return connection
            except (smtplib.SMTPException, OSError):
                pass
            self._drop()
        try:
            connection = smtplib.SMTP(self._host, self._port, timeout=TIMEOUT_SECONDS)
        except (smtplib.SMTPException, OSError):
            raise TemporaryFailure("the relay does not answer", reason="relay-away") from None
        try:
            self._secure(connection)
        except BaseException:
            connection.close()
            raise
        self._of_thread.connection = connection
        return connection

    def _secure(self, connection: smtplib.SMTP) -> None:
        """*Raises:* TemporaryFailure: a set-up that is wrong can be mended, so the mail waits."""
        try:
            connection.ehlo_or_helo_if_needed()
            if self._tls is not None and (connection.has_extn("starttls") or self._tls.verify_mode == ssl.CERT_REQUIRED):
                connection.starttls(context=self._tls)
            if self._login is not None:
                connection.login(*self._login)
        except ssl.SSLCertVerificationError:
            raise TemporaryFailure("the relay's certificate does not fit: KANAL_SMTP_RELAY_CA", reason="relay-certificate") from None
        except smtplib.SMTPNotSupportedError:
            raise TemporaryFailure("the relay offers no STARTTLS or no login: KANAL_SMTP_RELAY_TLS", reason="relay-without-tls") from None
        except smtplib.SMTPAuthenticationError:
            raise TemporaryFailure("the relay refuses KANAL_SMTP_RELAY_USER or its password", reason="relay-login") from None
        except (smtplib.SMTPException, OSError):
            raise TemporaryFailure("the relay breaks off at the start", reason="relay-away") from None

    def _drop(self) -> None:
        if self._of_thread.connection is not None:
            self._of_thread.connection.close()
        self._of_thread.connection = None


class _OfThread(threading.local):
    connection: smtplib.SMTP | None = None


def relay_tls(authorities: Path | None, *, verify: bool) -> ssl.SSLContext:
    """How we speak TLS to the relay. *Raises:* SetupError."""
    try:
        context = ssl.create_default_context(cafile=authorities)
    except (ssl.SSLError, OSError):
        raise SetupError("KANAL_SMTP_RELAY_CA holds no certificates") from None
    if not verify:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _refusal(code: int) -> Exception:
    reason = f"relay-{code}"
    return Undeliverable(reason=reason) if code >= 500 else TemporaryFailure(f"the relay answers {code}", reason=reason)
