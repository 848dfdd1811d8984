"""Three brokers, each record on two before it is acknowledged: one may die unnoticed, with two dead what comes in waits in the spool.

In `make soak` only: on two cores three brokers take minutes to start.
"""

import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from tests.pipeline.town import SECRET, TOKEN, SmsCitizen, Town, number_in
from tests.servers.gateway import SmsGateway
from tests.servers.install import install
from tests.servers.kafka import KafkaCluster
from tests.servers.kanal import Cluster
from tests.servers.mailbox import Mailbox
from tests.servers.postgres import PostgresServer
from tests.servers.processes import wait_until

TEXT = "LAPOR lampu jalan mati di kelurahan Cawang "


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    install(("kafka", "postgres", "nginx"))
    with ExitStack() as stack:
        mailbox, gateway = stack.enter_context(Mailbox()), stack.enter_context(SmsGateway(SECRET))
        environment = {
            "KANAL_SMTP_RELAY": f"127.0.0.1:{mailbox.port}", "KANAL_SMS_MAIN_SECRET": SECRET, "KANAL_SMS_MAIN_SEND_URL": gateway.url,
            "KANAL_STAFF_TOKEN": TOKEN,
        }  # fmt: skip
        kafka = stack.enter_context(KafkaCluster(tmp_path))
        postgres = stack.enter_context(PostgresServer(tmp_path / "postgres"))
        yield Town(stack.enter_context(Cluster(tmp_path / "kanal", kafka, postgres, environment)), mailbox, gateway)


@pytest.mark.timeout(600)  # three brokers on a small machine take their time
def test_one_broker_may_die_and_with_two_dead_intake_goes_on_into_the_spool(town: Town) -> None:
    """One dead: receipts go out as ever. Two dead: 200 from the spool, no receipt. All back: every receipt, once, in order."""
    kafka = town.kanal.kafka
    citizen = town.sms_citizen()
    promised = _send(citizen, 5)
    _wait_for_receipts(citizen, promised, 60)
    kafka.nodes[0].kill()
    promised += _send(citizen, 5)
    _wait_for_receipts(citizen, promised, 60)
    kafka.nodes[1].kill()
    promised += _send(citizen, 3)
    wait_until(lambda: _spooled(town) > 0, 20, "messages in the spool")
    assert len(citizen.inbox()) == 10
    for node in kafka.nodes[:2]:
        node.start(wait=False)
    _wait_for_receipts(citizen, promised, 240)
    assert _receipts(citizen) == promised
    wait_until(lambda: _spooled(town) == 0, 20, "an empty spool")


def _send(citizen: SmsCitizen, count: int) -> list[str]:
    return [citizen.send(f"{TEXT} {index} {uuid.uuid4().hex}")["number"] for index in range(count)]


def _receipts(citizen: SmsCitizen) -> list[str]:
    return [number_in(text) for text in citizen.inbox() if "diterima" in text]


def _wait_for_receipts(citizen: SmsCitizen, promised: list[str], seconds: float) -> None:
    wait_until(lambda: set(_receipts(citizen)) >= set(promised), seconds, "every receipt")


def _spooled(town: Town) -> float:
    port = town.kanal.process_of("ingest-sms").port
    lines = requests.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text.splitlines()
    return next((float(line.split()[-1]) for line in lines if line.startswith("kanal_spooled{")), 0.0)
