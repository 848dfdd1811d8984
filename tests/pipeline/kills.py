"""SIGKILL at every named fail-point while 200 messages come in: nothing lost, nothing twice, repeats counted.

What `test_kills_embedded.py` and `test_kills_kafka.py` share: two files, so that two processes can run them side by side.
"""

import os
import threading
import time
import uuid
import zlib
from collections.abc import Sequence
from smtplib import SMTP, SMTPException

import pytest
import requests

from kanal.keys import read_keys
from kanal.numbers import number_for
from tests.pipeline.checker import Ledger, check, receipts_of, settled_count
from tests.pipeline.town import ADDRESS, Town
from tests.servers.processes import wait_until

MESSAGES = 200
SENDERS = 20
STAGES = ("normalizer", "router", "tracker", "sms-replies")
POINTS = (
    "ingest-sms.before-acknowledgement",
    "ingest-sms.after-acknowledgement",
    *(f"{stage}.{point}" for stage in STAGES for point in ("after-poll", "after-commit", "after-append")),
    "sms-sender.sending",
    "sms-sender.sent",
    "ingest-email.before-acknowledgement",
    "ingest-email.after-acknowledgement",
    "email-sender.sending",
    "email-sender.sent",
)
ROUNDS = int(os.environ.get("KANAL_SOAK_ROUNDS", "5")) if os.environ.get("KANAL_SOAK") else 1


class Traffic:
    """Twenty people who each send ten messages one after the other; what is not acknowledged is sent again, as gateways do."""

    def __init__(self, town: Town, ledger: Ledger | None = None) -> None:
        self._town = town
        self.ledger = ledger or Ledger()
        self.lock = threading.Lock()
        self._threads = [threading.Thread(target=self._person, args=(index,)) for index in range(SENDERS)]
        self.failures: list[str] = []

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(120)
        assert not any(thread.is_alive() for thread in self._threads)
        assert not self.failures

    def _person(self, index: int) -> None:
        raise NotImplementedError


class SmsTraffic(Traffic):
    """By SMS: the number is promised at once."""

    def _person(self, index: int) -> None:
        phone = f"+62813{uuid.uuid4().int % 10**8:08}"
        for turn in range(MESSAGES // SENDERS):
            text = f"LAPOR lampu jalan mati di kelurahan Cawang, tiang nomor {index} {turn}"
            answer = self._until_acknowledged({"id": uuid.uuid4().hex, "from": phone, "to": "08111272206", "text": text})
            if answer is None:
                self.failures.append("a message was never acknowledged")
                return
            with self.lock:
                self.ledger.note(phone, answer["message_id"], answer["number"])

    def _until_acknowledged(self, fields: dict[str, str]) -> dict[str, str] | None:
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            try:
                status, answer = self._town.gateway.send(f"{self._town.kanal.url}/sms/main/inbound", fields)
            except requests.RequestException:
                status, answer = 0, None
            if status == 200 and answer is not None:
                return answer
            time.sleep(0.05)
        return None


class MailTraffic(Traffic):
    """By mail: 250 names the message, from which the number follows."""

    def _person(self, index: int) -> None:
        number_key = read_keys(self._town.kanal.data / "keys").number
        address = f"warga{uuid.uuid4().hex[:10]}@warga.example"
        for turn in range(MESSAGES // SENDERS):
            head = f"From: {address}\r\nMessage-ID: <{uuid.uuid4().hex}@warga.example>\r\nSubject: Lampu mati {index} {turn}\r\n"
            raw = f"{head}\r\nLampu jalan mati di kelurahan Cawang, tiang nomor {index} {turn}\r\n".encode()
            message_id = self._until_acknowledged(address, raw)
            if not message_id:
                self.failures.append("a mail was never acknowledged")
                return
            with self.lock:
                self.ledger.note(address, message_id, number_for(message_id, number_key, "JK"))

    def _until_acknowledged(self, sender: str, raw: bytes) -> str:
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            try:
                with SMTP("127.0.0.1", self._town.kanal.smtp_port, timeout=30) as smtp:
                    smtp.ehlo()
                    smtp.mail(sender)
                    smtp.rcpt(ADDRESS)
                    code, answer = smtp.data(raw)
                if code == 250:
                    return answer.decode().rpartition(" ")[2]
            except (SMTPException, OSError):
                time.sleep(0.05)
        return ""


def _points() -> Sequence[object]:
    return [pytest.param(point, round_, id=f"{point}-{round_}") for point in POINTS for round_ in range(ROUNDS)]


EVERY_POINT = pytest.mark.parametrize(("point", "round_"), _points())


def kill_and_check(town: Town, point: str, round_: int) -> None:
    """Every acknowledged message is settled exactly once and has one report, one number and its receipt; order per sender is kept."""
    process = town.kanal.process_of(_service_of(point))
    passes = 1 + (zlib.crc32(f"{point} {round_}".encode()) % 5 if ROUNDS > 1 else 1)
    process.stop()
    process.environment["KANAL_FAIL_POINT"] = f"{point}:{passes}"
    process.start()
    traffic = MailTraffic(town) if "email" in point else SmsTraffic(town)
    traffic.start()
    died = process.wait_for_death(60)
    process.environment.pop("KANAL_FAIL_POINT")
    process.start()
    traffic.join()
    assert died == -9
    with town.journal() as journal:
        wanted = traffic.ledger.message_ids
        wait_until(lambda: settled_count(journal, wanted) == len(wanted), 60, "settlement of every message")
    numbers = set(traffic.ledger.numbers.values())
    wait_until(lambda: _receipts(town, numbers) >= len(numbers), 60, "a receipt for every report")
    wait_until(lambda: _views(town, numbers) == len(numbers), 60, "every report in the tracker")
    findings = check(town, traffic.ledger)
    assert len(traffic.ledger.message_ids) == MESSAGES
    assert findings.is_clean(), findings
    print(f"{town.mode} {point}: 0 lost, 0 twice, {findings.receipts_repeated} receipts repeated (counted)")  # noqa: T201


def _service_of(point: str) -> str:
    stage = point.partition(".")[0]
    return {"sms-replies": "ingest-sms", "sms-sender": "ingest-sms", "email-sender": "ingest-email"}.get(stage, stage)


def _receipts(town: Town, numbers: set[str]) -> int:
    return len(numbers & set(receipts_of(town)))


def _views(town: Town, numbers: set[str]) -> int:
    from kanal_tracker.tables import reports
    from sqlalchemy import func, select

    with town.database() as database, database.read() as connection:
        return connection.scalar(select(func.count()).where(reports.c.number.in_(numbers))) or 0
