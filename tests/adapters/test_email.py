"""A real mail server in front of Kanal: what gets 451 is kept and tried again, what gets 550 bounces, one recipient each."""

import os
from pathlib import Path
from smtplib import SMTP

import pytest

from tests.pipeline.town import SECRET, TOKEN, Town
from tests.servers.gateway import SmsGateway
from tests.servers.kanal import Embedded
from tests.servers.mailbox import Mailbox
from tests.servers.postfix import Postfix
from tests.servers.processes import wait_until
from tests.servers.root import need_root, small_disk

pytestmark = pytest.mark.servers
ADDRESS = "lapor@kanal.test"


def test_a_mail_through_postfix_arrives_also_when_kanal_was_down(tmp_path: Path) -> None:
    """Postfix delivers over SMTP; while Kanal is down it keeps the mail, and two recipients become one report."""
    need_root("Postfix")
    with Mailbox() as mailbox, SmsGateway(SECRET) as gateway:
        environment = {
            "KANAL_SMTP_RELAY": f"127.0.0.1:{mailbox.port}", "KANAL_EMAIL_ADDRESS": ADDRESS, "KANAL_SMS_MAIN_SECRET": SECRET,
            "KANAL_STAFF_TOKEN": TOKEN,
        }  # fmt: skip
        with (
            Embedded(tmp_path / "kanal", environment) as kanal,
            Postfix(tmp_path / "postfix", None, kanal.smtp_port, "kanal.test") as postfix,
        ):
            town = Town(kanal, mailbox, gateway)
            first, second = town.mail_citizen(), town.mail_citizen()
            _send(postfix, first.address, [ADDRESS], "Pohon tumbang di kelurahan Menteng")
            first.wait_for("Laporan diterima")
            kanal.stop()
            _send(postfix, second.address, [ADDRESS, "lapor+kedua@kanal.test"], "Jalan rusak di kelurahan Cikini")
            wait_until(lambda: bool(postfix.queue_ids()), 10, "the mail in Postfix's queue")
            kanal.start()
            second.wait_for("Laporan diterima")
            wait_until(lambda: not postfix.queue_ids(), 60, "an empty queue")
            assert len(second.inbox()) == 1


def test_a_full_disk_gives_451_and_503_and_all_goes_on_when_there_is_room(tmp_path: Path) -> None:
    """Nothing is acknowledged that is not on disk; nothing needs a restart afterwards."""
    need_root("a small disk")
    with small_disk(tmp_path / "small", "48m") as small:
        _fill_and_free(small)


def _fill_and_free(small: Path) -> None:
    with Mailbox() as mailbox, SmsGateway(SECRET) as gateway:
        environment = {
            "KANAL_SMTP_RELAY": f"127.0.0.1:{mailbox.port}", "KANAL_SMS_MAIN_SECRET": SECRET, "KANAL_SMS_MAIN_SEND_URL": gateway.url,
            "KANAL_STAFF_TOKEN": TOKEN, "KANAL_DATA": str(small / "data"),
        }  # fmt: skip
        with Embedded(small / "kanal", environment) as kanal:
            kanal.data = small / "data"
            town = Town(kanal, mailbox, gateway)
            citizen = town.sms_citizen()
            citizen.send("LAPOR pohon tumbang di kelurahan Menteng")
            citizen.wait_for("Laporan diterima")
            filler = small / "filler"
            with filler.open("wb", buffering=0) as file:
                try:
                    while True:
                        file.write(b"x" * 4096)
                except OSError:
                    pass
            statuses = [_try_sms(town, index) for index in range(40)]
            assert 503 in statuses
            from smtplib import SMTPDataError

            with pytest.raises(SMTPDataError) as put_off:
                town.mail_citizen().send("Jalan rusak di kelurahan Cikini", "Jalan")
            assert put_off.value.smtp_code == 451
            filler.unlink()
            later = town.sms_citizen()
            wait_until(lambda: _try_sms(town, 99) == 200, 30, "room again")
            later.send("LAPOR sampah menumpuk di kelurahan Rawamangun")
            later.wait_for("Laporan diterima")
            assert kanal.processes["kanal"].running


def _try_sms(town: Town, index: int) -> int:
    fields = {
        "id": f"disk-{index}-{os.urandom(4).hex()}",
        "from": "+6281200000077",
        "to": "0811",
        "text": f"LAPOR lampu mati {index} " + "x" * 900,
    }
    status, _ = town.gateway.send(f"{town.kanal.url}/sms/main/inbound", fields)
    return status


def _send(postfix: Postfix, sender: str, recipients: list[str], text: str) -> None:
    with SMTP("127.0.0.1", postfix.port, timeout=20) as smtp:
        message_id = f"<{os.urandom(8).hex()}@warga.example>"
        smtp.sendmail(sender, recipients, f"From: {sender}\r\nMessage-ID: {message_id}\r\nSubject: Laporan\r\n\r\n{text}\r\n")
