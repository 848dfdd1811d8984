"""TLS of the e-mail adapter on both sides: a real Postfix that delivers over verified TLS only, a relay that wants TLS and a login."""

import os
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from smtplib import SMTP

import pytest
from kanal_ingest_email.listen import receiver_tls
from kanal_ingest_email.relay import relay_tls
from kanal_ingest_email.settings import EmailSettings

from kanal.errors import SetupError
from tests.pipeline.town import ADDRESS, SECRET, TOKEN, Town
from tests.servers.certificates import Authority
from tests.servers.gateway import SmsGateway
from tests.servers.kanal import Embedded
from tests.servers.mailbox import Mailbox
from tests.servers.postfix import Postfix
from tests.servers.processes import wait_until
from tests.servers.root import need_root

pytestmark = pytest.mark.servers
LOGIN = ("kanal", "rahasia-besar")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


@contextmanager
def _town(directory: Path, mailbox: Mailbox, settings: Mapping[str, str]) -> Iterator[Town]:
    with mailbox, SmsGateway(SECRET) as gateway:
        environment = {
            "KANAL_SMTP_RELAY": f"127.0.0.1:{mailbox.port}", "KANAL_SMS_MAIN_SECRET": SECRET, "KANAL_STAFF_TOKEN": TOKEN, **settings,
        }  # fmt: skip
        with Embedded(directory, environment) as kanal:
            yield Town(kanal, mailbox, gateway)


def _send(port: int, sender: str) -> None:
    with SMTP("127.0.0.1", port, timeout=20) as smtp:
        message_id = f"<{os.urandom(8).hex()}@warga.example>"
        smtp.sendmail(sender, [ADDRESS], f"From: {sender}\r\nMessage-ID: {message_id}\r\nSubject: Laporan\r\n\r\nJalan rusak di Cikini\r\n")


def test_postfix_delivers_over_verified_tls_and_answers_go_to_a_relay_with_a_login(tmp_path: Path, authority: Authority) -> None:
    """In: Postfix gives mail to a certificate that it believes, and keeps it when it does not. Out: STARTTLS, verified, then the login."""
    need_root("Postfix")
    own = authority.issue("kanal")
    settings = {
        "KANAL_SMTP_CERTIFICATE": str(own.certificate), "KANAL_SMTP_KEY": str(own.key), "KANAL_SMTP_RELAY_TLS": "required",
        "KANAL_SMTP_RELAY_CA": str(authority.certificate), "KANAL_SMTP_RELAY_USER": LOGIN[0], "KANAL_SMTP_RELAY_PASSWORD": LOGIN[1],
    }  # fmt: skip
    stranger = Authority(tmp_path / "stranger")
    with _town(tmp_path / "kanal", Mailbox(certificate=authority.issue("relay"), login=LOGIN), settings) as town:
        believing = Postfix(tmp_path / "believing", None, town.kanal.smtp_port, "localhost", authority.certificate)
        doubting = Postfix(tmp_path / "doubting", None, town.kanal.smtp_port, "localhost", stranger.certificate)
        first, second = town.mail_citizen(), town.mail_citizen()
        with believing as postfix:
            _send(postfix.port, first.address)
            first.wait_for("Laporan diterima")
        with doubting as postfix:
            _send(postfix.port, second.address)
            wait_until(lambda: "not verified" in postfix.log_text().lower(), 20, "Postfix's refusal")
            assert postfix.queue_ids()
        assert not second.inbox()
        assert LOGIN[1] not in town.kanal.logs()


WRONG = [
    pytest.param({"KANAL_SMTP_RELAY_PASSWORD": "tebakan-salah"}, "relay-login", id="password"),
    pytest.param({"KANAL_SMTP_RELAY_CA": "stranger"}, "relay-certificate", id="authority"),
]


@pytest.mark.parametrize(("wrong", "reason"), WRONG)
def test_an_answer_waits_while_tls_or_login_are_wrong(tmp_path: Path, authority: Authority, wrong: Mapping[str, str], reason: str) -> None:
    """A set-up can be mended, so nothing is given up; the reason says what to mend, and nothing went out."""
    stranger = str(Authority(tmp_path / "stranger").certificate)
    settings = {
        "KANAL_SMTP_RELAY_TLS": "required", "KANAL_SMTP_RELAY_CA": str(authority.certificate), "KANAL_SMTP_RELAY_USER": LOGIN[0],
        "KANAL_SMTP_RELAY_PASSWORD": LOGIN[1], **{name: stranger if value == "stranger" else value for name, value in wrong.items()},
    }  # fmt: skip
    with _town(tmp_path / "kanal", Mailbox(certificate=authority.issue("relay"), login=LOGIN), settings) as town:
        citizen = town.mail_citizen()
        citizen.send("Pohon tumbang di kelurahan Menteng", "Pohon")
        wait_until(lambda: reason in town.kanal.logs(), 20, f"{reason} in the log")
        assert not citizen.inbox()
        assert not [value for value in (LOGIN[1], *wrong.values()) if value in town.kanal.logs()]


@pytest.mark.parametrize(("wanted", "answered"), [("opportunistic", True), ("required", False)])
def test_a_relay_without_tls_is_used_unless_tls_is_required(tmp_path: Path, wanted: str, *, answered: bool) -> None:
    """`required` never speaks in clear; `opportunistic` does when nothing else is offered."""
    with _town(tmp_path / "kanal", Mailbox(), {"KANAL_SMTP_RELAY_TLS": wanted}) as town:
        citizen = town.mail_citizen()
        citizen.send("Pohon tumbang di kelurahan Menteng", "Pohon")
        wait_until(lambda: bool(citizen.inbox()) if answered else "relay-without-tls" in town.kanal.logs(), 20, "the answer or the refusal")
        assert bool(citizen.inbox()) == answered


def test_opportunistic_tls_takes_any_certificate(tmp_path: Path, authority: Authority) -> None:
    """Better than in clear; the relay here takes mail only after STARTTLS, with a certificate that nobody vouches for."""
    with _town(tmp_path / "kanal", Mailbox(certificate=authority.issue("relay")), {"KANAL_SMTP_RELAY_TLS": "opportunistic"}) as town:
        citizen = town.mail_citizen()
        citizen.send("Pohon tumbang di kelurahan Menteng", "Pohon")
        citizen.wait_for("Laporan diterima")


def test_the_receiver_offers_starttls_and_still_takes_mail_in_clear(tmp_path: Path, authority: Authority) -> None:
    """A mail server on the same host needs none."""
    own = authority.issue("kanal")
    settings = {"KANAL_SMTP_CERTIFICATE": str(own.certificate), "KANAL_SMTP_KEY": str(own.key)}
    with _town(tmp_path / "kanal", Mailbox(), settings) as town:
        with SMTP("localhost", town.kanal.smtp_port, timeout=20) as smtp:
            smtp.starttls(context=ssl.create_default_context(cafile=authority.certificate))
            assert smtp.sock.version() in {"TLSv1.2", "TLSv1.3"}
            citizen = town.mail_citizen()
            message_id = f"<{os.urandom(8).hex()}@warga.example>"
            smtp.sendmail(
                citizen.address, [ADDRESS], f"From: {citizen.address}\r\nMessage-ID: {message_id}\r\n\r\nLampu mati di Cawang\r\n"
            )
        citizen.wait_for("Laporan diterima")
        in_clear = town.mail_citizen()
        in_clear.send("Pohon tumbang di kelurahan Menteng", "Pohon")
        in_clear.wait_for("Laporan diterima")


@pytest.mark.parametrize(
    ("values", "named"),
    [
        pytest.param({"smtp_certificate": Path(__file__)}, "KANAL_SMTP_KEY", id="half a certificate"),
        pytest.param({"smtp_relay_user": "kanal", "smtp_relay_tls": "required"}, "KANAL_SMTP_RELAY_PASSWORD", id="no password"),
        pytest.param(
            {"smtp_relay_user": "kanal", "smtp_relay_password": LOGIN[1], "smtp_relay_tls": "opportunistic"}, "in clear", id="in clear"
        ),
    ],
)
def test_half_a_set_up_is_refused(values: dict[str, object], named: str) -> None:
    """And the password is not in the sentence that says so."""
    with pytest.raises(SetupError, match=named) as refused:
        EmailSettings(**values).refuse_halves()  # type: ignore[arg-type]
    assert LOGIN[1] not in str(refused.value)


def test_files_that_hold_no_certificate_are_told_by_the_names_of_their_settings(authority: Authority) -> None:
    """At the start, not at the first mail."""
    own, other = authority.issue("one"), authority.issue("other")
    with pytest.raises(SetupError, match="KANAL_SMTP_KEY"):
        receiver_tls(own.certificate, other.key)
    with pytest.raises(SetupError, match="KANAL_SMTP_RELAY_CA"):
        relay_tls(Path(__file__), verify=True)
