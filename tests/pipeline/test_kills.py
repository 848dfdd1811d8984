"""SIGKILL at every named fail-point while 200 messages come in, in both modes: nothing lost, nothing twice, repeats counted."""

import os
import threading
import time
import uuid
from collections.abc import Sequence

import pytest
import requests

from tests.pipeline.checker import Ledger, check, settled_count
from tests.pipeline.town import Town
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
)
ROUNDS = int(os.environ.get("KANAL_SOAK_ROUNDS", "5")) if os.environ.get("KANAL_SOAK") else 1


class Traffic:
    """Twenty telephones that each send ten SMS one after the other; what is not acknowledged is sent again, as a gateway does."""

    def __init__(self, town: Town) -> None:
        self._town = town
        self.ledger = Ledger()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._phone, args=(index,)) for index in range(SENDERS)]
        self.failures: list[str] = []

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join(120)
        assert not any(thread.is_alive() for thread in self._threads)
        assert not self.failures

    def _phone(self, index: int) -> None:
        phone = f"+62813{uuid.uuid4().int % 10**8:08}"
        for turn in range(MESSAGES // SENDERS):
            text = f"LAPOR lampu jalan mati di kelurahan Cawang, tiang nomor {index} {turn}"
            answer = self._until_acknowledged({"id": uuid.uuid4().hex, "from": phone, "to": "08111272206", "text": text})
            if answer is None:
                self.failures.append("a message was never acknowledged")
                return
            with self._lock:
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


def _points() -> Sequence[object]:
    return [pytest.param(point, round_, id=f"{point}-{round_}") for point in POINTS for round_ in range(ROUNDS)]


@pytest.mark.parametrize(("point", "round_"), _points())
def test_killed_at_a_fail_point_nothing_is_lost_and_nothing_happens_twice(town: Town, point: str, round_: int) -> None:
    """Every acknowledged message is settled exactly once and has one report, one number and its receipt; order per sender is kept."""
    process = town.kanal.process_of(_service_of(point))
    passes = 1 + (hash((point, round_)) % 5 if ROUNDS > 1 else 1)
    process.stop()
    process.environment["KANAL_FAIL_POINT"] = f"{point}:{passes}"
    process.start()
    traffic = Traffic(town)
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
    return {"sms-replies": "ingest-sms", "sms-sender": "ingest-sms"}.get(stage, stage)


def _receipts(town: Town, numbers: set[str]) -> int:
    texts = {sms["text"] for sms in town.gateway.sent}
    return sum(any(number in text for text in texts) for number in numbers)


def _views(town: Town, numbers: set[str]) -> int:
    from kanal_tracker.tables import reports
    from sqlalchemy import func, select

    with town.database() as database, database.read() as connection:
        return connection.scalar(select(func.count()).where(reports.c.number.in_(numbers))) or 0
