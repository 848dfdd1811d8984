"""Nobody's address: what identifies a citizen is found nowhere but sealed, whatever he sends and whatever happens to it."""

import json
import uuid
from pathlib import Path

from sqlalchemy import MetaData

from kanal import topics
from kanal.database import Database, dump
from tests.pipeline.town import Town, body_of, number_in, quiet_for


def test_addresses_are_found_in_no_topic_table_log_page_metric_or_error(town: Town) -> None:
    """Seeded telephone numbers and mail addresses, sent in every field that a citizen or a gateway can fill."""
    phone_digits = f"812{uuid.uuid4().int % 10**8:08}"
    mail_name = f"rahasia{uuid.uuid4().hex[:10]}"
    seeds = [phone_digits, mail_name]
    number = _write_in(town, phone_digits, mail_name)
    text_topics = {topics.message_received(channel) for channel in topics.CHANNELS}
    with town.journal() as journal:
        quiet_for(2.0, lambda: sum(bounds.end for topic in topics.TOPICS for bounds in journal.bounds(topic).values()))
        for topic in set(topics.TOPICS) - text_topics:
            for stored in journal.scan(topic):
                _nothing_of(seeds, (stored.value or b"").decode("latin-1") + json.dumps(stored.headers) + stored.key, topic)
        for topic in text_topics:  # the citizen's words are there by design; who he is must not be
            for stored in journal.scan(topic):
                event = json.loads(stored.value or b"{}")
                event.pop("text", None)
                event.pop("subject", None)
                _nothing_of(seeds, json.dumps(event) + json.dumps(stored.headers) + stored.key, topic)
    with town.database() as database:
        _nothing_of(seeds, json.dumps(_all_rows(database), default=str), "tables")
    _nothing_of(seeds, town.kanal.logs(), "logs")
    for path in (f"/r/{number}", f"/r/{number}?lang=en", f"/api/v1/reports/{number}"):
        _nothing_of(seeds, town.page(path).text, path)
    for process in town.kanal.processes.values():
        import requests

        _nothing_of(seeds, requests.get(f"http://127.0.0.1:{process.port}/metrics", timeout=10).text, "metrics")
    for path in Path(town.kanal.data).rglob("*"):
        if path.is_file() and "message/rfc822" not in path.name and path.parent.name != "outbox" and "attachments" in path.parts:
            _nothing_of(seeds, path.read_bytes().decode("latin-1"), str(path.name))


def test_an_operator_sees_dead_letters_masked(town: Town) -> None:
    """`kanal dead-letters` shows cause and place; telephone numbers in the text of a dead letter are masked."""
    from datetime import UTC, datetime

    from kanal.events import MessageReceived
    from kanal.ids import derive_id
    from kanal.records import record_of

    message_id = derive_id("test", uuid.uuid4().hex)
    broken = MessageReceived(
        message_id=message_id, channel="sms", account="main", sender_key="k", conversation="c", received_at=datetime.now(UTC),
        text="Telepon 0812-3456-7890 atau ada@warga.example", number="not a number",
    )  # fmt: skip
    record = record_of("message-received-sms", "k", broken, event_id=message_id, source="test", at=broken.received_at)
    headers = {**record.headers, "ce_type": "kanal.report-routed.v1"}
    with town.journal() as journal:
        from tests.servers.processes import wait_until

        journal.append([type(record)(topic=record.topic, key=record.key, value=record.value, headers=headers)])
        wait_until(lambda: "undecodable" in town.command("dead-letters").stdout, 30, "the dead letter")
    listed = town.command("dead-letters", "--cause", "undecodable")
    letter_id = listed.stdout.split()[0]
    shown = town.command("dead-letters", letter_id)
    assert shown.returncode == 0, shown.stderr
    assert "[telp]" in shown.stdout
    assert "3456" not in shown.stdout
    assert "ada@" not in shown.stdout


def _write_in(town: Town, phone_digits: str, mail_name: str) -> str:
    """The seeds as sender, in texts, subjects, notes and broken input."""
    phone, address = f"+62{phone_digits}", f"{mail_name}@warga.example"
    texts = [
        f"LAPOR lampu mati di kelurahan Cawang, hubungi 0{phone_digits} atau {address}",
        f"LAPOR jalan rusak, WA {phone_digits[:3]}-{phone_digits[3:7]}-{phone_digits[7:]}, +62 {phone_digits}",
    ]
    sms_citizen = town.sms_citizen()
    sms_citizen.phone = phone
    for text in texts:
        sms_citizen.send(text)
    sms_citizen.send(f"LAPOR bagian satu, telepon 0{phone_digits} ", part_reference="9", part_number=1, part_total=3)
    url = f"{town.kanal.url}/sms/main/inbound"
    assert town.gateway.send(url, {"id": "1", "from": phone, "to": "0", "text": ""})[0] == 422
    assert town.gateway.send(url, {"id": "\x00", "from": phone, "to": address, "text": texts[0]})[0] == 422
    mail_citizen = town.mail_citizen()
    mail_citizen.address = address
    mail_citizen.send(f"Pohon tumbang di kelurahan Menteng. Saya di 0{phone_digits}, {address}", f"Dari {address}")
    number = number_in(body_of(mail_citizen.wait_for("Laporan diterima")))
    town.wait_for_report(number, lambda report: report["agency"] is not None)
    town.act(number, "ask", note=f"Benar nomor 0{phone_digits} milik {address}?")
    mail_citizen.send("CEK", f"Re: {address}")
    mail_citizen.wait_for("Laporan Anda yang sedang berjalan")
    return number


def _all_rows(database: Database) -> dict[str, list[tuple[object, ...]]]:
    metadata = MetaData()
    with database.read() as connection:
        metadata.reflect(connection)
        return dump(connection, metadata.sorted_tables)


def _nothing_of(seeds: list[str], text: str, where: str) -> None:
    for seed in seeds:
        assert seed not in text, f"an address is found in {where}"
        assert seed not in text.replace("-", "").replace(" ", ""), f"an address is found in {where}"
