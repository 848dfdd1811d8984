"""Parts of the world away: relay, gateway, journal, database. Nothing is lost, nothing is refused that could be kept, all catches up."""

import time
import uuid

import pytest
import requests

from tests.pipeline.town import Town, body_of, number_in
from tests.servers.kanal import Cluster
from tests.servers.processes import wait_until

TEXT = "LAPOR lampu jalan mati di kelurahan Cawang "


def test_relay_and_gateway_away_or_busy_only_delay_the_answers(town: Town) -> None:
    """451, 429 and 503 are tried again later; a refusal for ever is noted and tried no more."""
    mail_citizen, sms_citizen = town.mail_citizen(), town.sms_citizen()
    town.mailbox.answer_next("451 4.3.0 later")
    town.gateway.answer_next(429, headers={"Retry-After": "1"})
    mail_citizen.send("Pohon tumbang di kelurahan Menteng", "Pohon")
    sms_citizen.send(TEXT + uuid.uuid4().hex)
    mail_citizen.wait_for("Laporan diterima")
    sms_citizen.wait_for("Laporan diterima")
    refused = town.sms_citizen()
    town.gateway.answer_next(400)
    refused.send(TEXT + uuid.uuid4().hex)
    wait_until(lambda: "undeliverable" in town.kanal.logs(), 20, "the refusal in the log")
    assert refused.inbox() == []


def test_an_answer_whose_acknowledgement_is_lost_is_sent_again_and_counted(town: Town) -> None:
    """The relay took the mail but broke off: the citizen may read it twice, and the metric says so."""
    citizen = town.mail_citizen()
    before = _repeats(town, "email")
    town.mailbox.drop_after_data = 1
    citizen.send("Jalan rusak di kelurahan Cikini", "Jalan")
    citizen.wait_for("Laporan diterima", count=2)
    assert _repeats(town, "email") == before + 1
    assert len({mail.message["Message-ID"] for mail in citizen.inbox()}) == 1, "the same Message-ID: mail programs show it once"


def test_a_delivery_report_and_a_bounce_say_that_a_citizen_was_not_reached(town: Town) -> None:
    """What the network says later is noted on the reply and told in `reply-settled`."""
    citizen = town.sms_citizen()
    citizen.send(TEXT + uuid.uuid4().hex)
    citizen.wait_for("Laporan diterima")
    sms_id = next(sms["id"] for sms in reversed(town.gateway.sent) if sms["to"] == citizen.phone)
    status, _ = town.gateway.report_delivery(f"{town.kanal.url}/sms/main/delivery", sms_id, "UNDELIV")
    assert status == 200
    writer = town.mail_citizen()
    writer.send("Sampah menumpuk di kelurahan Rawamangun", "Sampah")
    receipt = writer.wait_for("Laporan diterima")
    _bounce(town, receipt["Message-ID"])
    from sqlalchemy import func, select

    from kanal.replies import replies

    def unreached() -> int:
        with town.database() as database, database.read() as connection:
            return connection.scalar(select(func.count()).where(replies.c.state == "undeliverable", replies.c.reason != "gateway-400")) or 0

    wait_until(lambda: unreached() >= 2, 20, "two replies marked undeliverable")
    assert len(writer.inbox()) == 1, "a bounce gets no answer"


def test_kafka_away_sms_are_spooled_and_mail_is_put_off(town: Town) -> None:
    """The broker hangs: the webhook still says 200 (spool), SMTP says 451; when it is back all become reports, once each, in order."""
    cluster = town.kanal
    if not isinstance(cluster, Cluster):
        pytest.skip("embedded mode has no broker to be away")
    citizen, writer = town.sms_citizen(), town.mail_citizen()
    cluster.kafka.pause()
    try:
        promised = [citizen.send(f"{TEXT} nomor {index} {uuid.uuid4().hex}")["number"] for index in range(5)]
        from smtplib import SMTPDataError

        with pytest.raises(SMTPDataError) as put_off:
            writer.send("Pohon tumbang di kelurahan Menteng", "Pohon")
        assert put_off.value.smtp_code == 451
    finally:
        cluster.kafka.resume()
    wait_until(lambda: {number_in(text) for text in citizen.inbox() if "diterima" in text} >= set(promised), 60, "every receipt")
    received = [number_in(text) for text in citizen.inbox() if "diterima" in text]
    assert received == promised
    writer.send("Pohon tumbang di kelurahan Menteng", "Pohon")
    assert number_in(body_of(writer.wait_for("Laporan diterima")))


def test_postgres_killed_and_restarted_only_delays(town: Town) -> None:
    """Stages retry what the database could not take; nothing is lost and nothing happens twice."""
    cluster = town.kanal
    if not isinstance(cluster, Cluster):
        pytest.skip("embedded mode has no database server")
    citizen = town.sms_citizen()
    cluster.postgres.kill()
    numbers = [citizen.send(f"{TEXT} {uuid.uuid4().hex}")["number"] for _ in range(5)]
    time.sleep(1)
    cluster.postgres.start()
    wait_until(lambda: {number_in(text) for text in citizen.inbox() if "diterima" in text} >= set(numbers), 60, "every receipt")
    assert [number_in(text) for text in citizen.inbox() if "diterima" in text] == numbers


def _repeats(town: Town, channel: str) -> float:
    port = town.kanal.process_of(f"ingest-{channel}").port
    for line in requests.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text.splitlines():
        if line.startswith(f'kanal_reply_repeats_total{{channel="{channel}"}}'):
            return float(line.split()[-1])
    return 0.0


def _bounce(town: Town, message_id: str) -> None:
    """A delivery status notification as a mail server sends it (RFC 3464)."""
    from smtplib import SMTP

    raw = (
        "From: MAILER-DAEMON@warga.example\r\nTo: lapor@localhost\r\nSubject: Undelivered\r\nAuto-Submitted: auto-replied\r\n"
        "MIME-Version: 1.0\r\nContent-Type: multipart/report; report-type=delivery-status; boundary=b\r\n\r\n"
        "--b\r\nContent-Type: text/plain\r\n\r\nNot delivered.\r\n"
        "--b\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; warga.example\r\n\r\n"
        "Final-Recipient: rfc822; siapa@warga.example\r\nAction: failed\r\nStatus: 5.1.1\r\n\r\n"
        f"--b\r\nContent-Type: message/rfc822\r\n\r\nMessage-ID: {message_id}\r\nSubject: Laporan\r\n\r\nx\r\n--b--\r\n"
    )
    with SMTP("127.0.0.1", town.kanal.smtp_port, timeout=10) as smtp:
        smtp.sendmail("", ["lapor@localhost"], raw)
