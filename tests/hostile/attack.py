"""How an attack is carried out and measured while other citizens go on writing. Not here: the attacks."""

import logging
import socket
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from smtplib import SMTPException
from typing import TypeVar

from tests.hostile.meter import Cost, Meter
from tests.pipeline.town import PATIENCE_SECONDS, Town, number_in
from tests.servers.processes import wait_until

ENOUGH = "LAPOR lampu jalan mati di kelurahan Cawang"
CPU_SECONDS = 2.0
MEGABYTES = 200.0
"""What one attack may cost Kanal."""

_T = TypeVar("_T")
_log = logging.getLogger(__name__)
"""`pytest --log-cli-level INFO` shows what each attack costs."""


def under_attack(town: Town, attack: Callable[[Town], _T]) -> tuple[_T, Cost]:
    """What the attacker was told, and what it cost; meanwhile an SMS and a mail of others get their numbers."""
    meter = Meter(town.kanal.process_of("ingest-email").pid)
    with ThreadPoolExecutor(1) as pool:
        attacker = pool.submit(attack, town)
        others_are_heard(town)
        answers = attacker.result()
    others_are_heard(town)  # what was in front of them is settled now
    cost = meter.cost()
    _log.info("%.2f s of processor, %.0f MB, answers %s", *cost, answers if isinstance(answers, list) else "")
    return answers, cost


def others_are_heard(town: Town) -> None:
    """Two citizens write and get their numbers; a mail server and a gateway that are told "later" try again."""
    by_sms, by_mail = town.sms_citizen(), town.mail_citizen()
    sms_id = uuid.uuid4().hex
    _until_taken(lambda: by_sms.send(f"{ENOUGH} {sms_id}", sms_id))
    _until_taken(lambda: by_mail.send(f"{ENOUGH} {sms_id}"))
    number_in(by_sms.wait_for("Laporan diterima"))
    number_in(str(by_mail.wait_for("Laporan diterima")))


def _until_taken(send: Callable[[], object]) -> None:
    """As the machines in between do it: what gets 421, 451, 452 or 503, or loses its connection, is sent again."""

    def taken() -> bool:
        try:
            send()
        except (SMTPException, OSError, AssertionError):
            return False
        return True

    wait_until(taken, PATIENCE_SECONDS, "a citizen between the attackers is taken")


def connected(port: int, peer: str = "127.0.0.1") -> socket.socket:
    """A connection that comes from `peer`: the whole of 127.0.0.0/8 is this machine."""
    return socket.create_connection(("127.0.0.1", port), 30, source_address=(peer, 0))


def answer_to(connection: socket.socket) -> bytes:
    """All that is said until the other side closes; what was said before it broke the connection off."""
    said = b""
    try:
        while chunk := connection.recv(65_536):
            said += chunk
    except OSError:
        pass
    return said


def codes(said: bytes) -> Sequence[int]:
    """The SMTP codes in an answer, one a reply."""
    return [int(line[:3]) for line in said.splitlines() if line[:3].isdigit() and line[3:4] != b"-"]
