"""Citizens, officers and a look at what Kanal keeps: how the tests of this folder use a running Kanal, always from outside."""

import json
import re
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from email.message import EmailMessage
from email.utils import make_msgid
from pathlib import Path
from smtplib import SMTP
from typing import Any

import requests

from kanal.database import Database
from kanal.journal import Journal
from kanal.journal.kafka import KafkaJournal
from kanal.journal.sqlite import SqliteJournal
from tests.servers.gateway import SmsGateway
from tests.servers.install import install
from tests.servers.kafka import KafkaServer
from tests.servers.kanal import PROJECT, Cluster, Embedded, Installation
from tests.servers.mailbox import Mailbox, Received
from tests.servers.postgres import PostgresServer
from tests.servers.processes import wait_until

SECRET = "a-secret-of-the-tests"
TOKEN = "a-token-of-the-tests"
ADDRESS = "lapor@localhost"
NUMBER = re.compile(r"JK-[2-9A-Z]{4}-[2-9A-Z]{4}-[2-9A-Z]{4}")
PATIENCE_SECONDS = 30


@dataclass
class Town:
    """A running Kanal and the world around it."""

    kanal: Installation
    mailbox: Mailbox
    gateway: SmsGateway

    @property
    def mode(self) -> str:
        return self.kanal.mode

    def mail_citizen(self, name: str = "") -> "MailCitizen":
        """Somebody who writes mail."""
        return MailCitizen(self, f"{name or 'warga'}.{uuid.uuid4().hex[:8]}@warga.example")

    def sms_citizen(self) -> "SmsCitizen":
        """Somebody with a telephone."""
        return SmsCitizen(self, f"+62812{uuid.uuid4().int % 10**8:08}")

    def report(self, number: str, lang: str = "id") -> requests.Response:
        return requests.get(f"{self.kanal.url}/api/v1/reports/{number}", params={"lang": lang}, timeout=10)

    def page(self, path: str) -> requests.Response:
        return requests.get(self.kanal.url + path, timeout=10)

    def act(self, number: str, action: str, version: int | None = None, action_id: str = "", **values: Any) -> requests.Response:
        """An officer's action, by default on the version that is shown now."""
        version = self.report(number).json()["version"] if version is None else version
        body = {"action_id": action_id or uuid.uuid4().hex, "action": action, "version": version, **values}
        headers = {"Authorization": f"Bearer {self.kanal.staff_token}"}
        return requests.post(f"{self.kanal.url}/api/v1/reports/{number}/actions", json=body, headers=headers, timeout=20)

    def wait_for_status(self, number: str, status: str) -> dict[str, Any]:
        return self.wait_for_report(number, lambda report: report["status"] == status)

    def wait_for_report(self, number: str, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        found: dict[str, Any] = {}

        def fits() -> bool:
            response = self.report(number)
            if response.status_code != 200:
                return False
            found.update(response.json())
            return condition(found)

        wait_until(fits, PATIENCE_SECONDS, f"report {number}")
        return found

    @contextmanager
    def journal(self) -> Iterator[Journal]:
        """The journal, to look at."""
        journal: Journal = (
            SqliteJournal(self.kanal.data / "journal.db") if self.mode == "embedded" else KafkaJournal(self.kanal.journal_url)
        )
        try:
            yield journal
        finally:
            journal.close()

    @contextmanager
    def database(self) -> Iterator[Database]:
        """The state, to look at."""
        database = Database(self.kanal.database_url)
        try:
            yield database
        finally:
            database.close()

    def command(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """The `kanal` command, as an operator runs it."""
        environment = self.kanal.command_environment
        return subprocess.run(
            self.kanal.kanal(*arguments), env=environment, cwd=PROJECT, capture_output=True, text=True, timeout=120, check=False
        )


@contextmanager
def open_town(mode: str, directory: Path) -> Iterator[Town]:
    """Kanal running, a mailbox as its relay, a gateway for its SMS."""
    with ExitStack() as stack:
        mailbox = stack.enter_context(Mailbox())
        gateway = stack.enter_context(SmsGateway(SECRET))
        environment = {
            "KANAL_SMTP_RELAY": f"127.0.0.1:{mailbox.port}",
            "KANAL_SMS_MAIN_SECRET": SECRET,
            "KANAL_SMS_MAIN_SEND_URL": gateway.url,
            "KANAL_STAFF_TOKEN": TOKEN,
        }
        yield Town(stack.enter_context(_installation(mode, directory, environment, stack)), mailbox, gateway)


def _installation(mode: str, directory: Path, environment: Mapping[str, str], stack: ExitStack) -> Installation:
    if mode == "embedded":
        return Embedded(directory, environment)
    install(("kafka", "postgres", "nginx"))
    kafka = stack.enter_context(KafkaServer(directory / "kafka"))
    postgres = stack.enter_context(PostgresServer(directory / "postgres"))
    return Cluster(directory, kafka, postgres, environment)


@dataclass
class MailCitizen:
    """Writes mail to Kanal and reads what comes back."""

    town: Town
    address: str
    sent_ids: list[str] = field(default_factory=list)

    def send(self, text: str, subject: str = "Laporan", answers: EmailMessage | None = None, **headers: str) -> str:
        """The Message-ID of what was sent, once Kanal has said 250."""
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"] = self.address, ADDRESS, subject
        mail["Message-ID"] = make_msgid(domain="warga.example")
        if answers is not None:
            mail["In-Reply-To"] = answers["Message-ID"]
            mail["References"] = f"{answers['References'] or ''} {answers['Message-ID']}".strip()
        for name, value in headers.items():
            mail[name.replace("_", "-")] = value
        mail.set_content(text)
        with SMTP("127.0.0.1", self.town.kanal.smtp_port, timeout=30) as smtp:
            smtp.send_message(mail, self.address, [ADDRESS])
        self.sent_ids.append(mail["Message-ID"])
        return str(mail["Message-ID"])

    def inbox(self) -> list[Received]:
        return [mail for mail in self.town.mailbox.messages if mail.recipients == [self.address]]

    def wait_for(self, words: str, count: int = 1) -> EmailMessage:
        """The newest mail that holds `words`, once there are `count` of them."""

        def hits() -> list[EmailMessage]:
            return [mail.message for mail in self.inbox() if words in body_of(mail.message)]

        wait_until(lambda: len(hits()) >= count, PATIENCE_SECONDS, f"mail with {words!r}; there are {len(self.inbox())}")
        return hits()[-1]


@dataclass
class SmsCitizen:
    """Sends SMS through the gateway and reads what comes back."""

    town: Town
    phone: str

    def send(self, text: str, sms_id: str = "", **fields: Any) -> dict[str, Any]:
        """The answer of the webhook, which must be 200."""
        values = {"id": sms_id or uuid.uuid4().hex, "from": self.phone, "to": "08111272206", "text": text, **fields}
        status, answer = self.town.gateway.send(f"{self.town.kanal.url}/sms/main/inbound", values)
        assert status == 200, (status, answer)
        assert isinstance(answer, dict)
        return answer

    def inbox(self) -> list[str]:
        return [sms["text"] for sms in self.town.gateway.sent if sms["to"] == self.phone]

    def wait_for(self, words: str, count: int = 1) -> str:
        """The newest SMS that holds `words`, once there are `count` of them."""
        wait_until(lambda: sum(words in text for text in self.inbox()) >= count, PATIENCE_SECONDS, f"an SMS with {words!r}: {self.inbox()}")
        return [text for text in self.inbox() if words in text][-1]


def body_of(mail: EmailMessage) -> str:
    """The text of a mail."""
    part = mail.get_body(("plain",))
    return str(part.get_content()) if part is not None else ""


def number_in(text: str) -> str:
    """The first tracking number in a text."""
    match = NUMBER.search(text)
    assert match is not None, text
    return match.group()


def quiet_for(seconds: float, count: Callable[[], int], timeout_seconds: float = 60) -> None:
    """Return when `count` has not changed for `seconds`: nothing is on its way any more."""
    deadline = time.monotonic() + timeout_seconds
    last, since = count(), time.monotonic()
    while time.monotonic() - since < seconds:
        assert time.monotonic() < deadline, "it does not come to rest"
        time.sleep(0.05)
        if (now := count()) != last:
            last, since = now, time.monotonic()


def pretty(report: dict[str, Any]) -> str:
    """For a failed assertion."""
    return json.dumps(report, indent=1, ensure_ascii=False)
