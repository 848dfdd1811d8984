"""Bad input from outside: a named error or a dead letter, and nothing else stops. Every row is sent to a running Kanal."""

import json
import socket
import uuid
from smtplib import SMTP, SMTPDataError, SMTPRecipientsRefused, SMTPSenderRefused
from typing import Any

import pytest
import requests
from kanal_all_in_one.dead_letters import read_letters

from kanal import topics
from tests.pipeline.town import ADDRESS, PATIENCE_SECONDS, Town
from tests.servers.gateway import SIGNATURE_HEADER, sign
from tests.servers.processes import wait_until

ENOUGH = "LAPOR lampu jalan mati di kelurahan Cawang"


def post(town: Town, body: bytes, signature: str | None = None, content_type: str = "application/json") -> requests.Response:
    """What the webhook answers to `body`, rightly signed unless told otherwise."""
    headers = {"Content-Type": content_type, SIGNATURE_HEADER: sign(town.kanal.sms_secret, body) if signature is None else signature}
    return requests.post(f"{town.kanal.url}/sms/main/inbound", data=body, headers=headers, timeout=20)


def sms(**changes: Any) -> bytes:
    fields = {"id": uuid.uuid4().hex, "from": "+6281200000099", "to": "08111272206", "text": ENOUGH} | changes
    return json.dumps({name: value for name, value in fields.items() if value is not None}).encode()


def mail(town: Town, raw: bytes, sender: str = "orang@warga.example", recipient: str = ADDRESS) -> tuple[int, bytes]:
    """The SMTP answer to `raw` as it is, bytes and all."""
    with SMTP("127.0.0.1", town.kanal.smtp_port, timeout=30) as smtp:
        try:
            smtp.ehlo()
            smtp.mail(sender)
            code, answer = smtp.rcpt(recipient)
            return smtp.data(raw) if code == 250 else (code, answer)
        except (SMTPDataError, SMTPSenderRefused) as error:
            return error.smtp_code, bytes(error.smtp_error)
        except SMTPRecipientsRefused as error:
            return next(iter(error.recipients.values()))


def still_works(town: Town) -> None:
    """A citizen after the bad one gets his number as always."""
    citizen = town.sms_citizen()
    citizen.send(ENOUGH + " " + uuid.uuid4().hex)
    citizen.wait_for("Laporan diterima")


WRONG_SMS = [
    pytest.param(sms(text=None), "text", id="no text"),
    pytest.param(sms(text="  "), "text", id="blank text"),
    pytest.param(sms(text="a\x00b"), "text", id="NUL"),
    pytest.param(sms(id=None), "id", id="no id"),
    pytest.param(sms(text=7.5), "text", id="number as text"),
    pytest.param(sms(text="x" * 10_001), "text", id="very long text"),
    pytest.param(sms(part_total=3, part_reference="1", part_number=4), "part_number", id="part beyond total"),
    pytest.param(sms(part_total=10_000, part_reference="1", part_number=1), "part_total", id="10,000 parts"),
    pytest.param(b'{"id": "1", "from": "+6281200000099", "text": "\xff\xfe"}', "body", id="broken UTF-8"),
    pytest.param(b"not json at all", "body", id="not JSON"),
    pytest.param(b"[" * 30_000, "body", id="deep nesting"),
    pytest.param(b"[1, 2]", "body", id="a list"),
]


@pytest.mark.parametrize(("body", "field"), WRONG_SMS)
def test_a_signed_but_wrong_sms_gets_422_with_the_field_and_is_kept_sealed(town: Town, body: bytes, field: str) -> None:
    """The gateway signed it, so a citizen may be behind it: it is refused by name and kept as a dead letter, sealed."""
    response = post(town, body)
    assert (response.status_code, response.json()["field"]) == (422, field)
    with town.journal() as journal:
        letters = list(read_letters(journal, cause=f"invalid-{field}"))
        assert letters
        assert all(letter.sealed and b"812000" not in letter.original() for _, letter in letters)


def test_a_wrong_signature_gets_401_and_leaves_nothing(town: Town) -> None:
    """Anybody can send unsigned bytes: they must not be able to fill the disk."""
    body = sms()
    with town.journal() as journal:
        before = _ends(journal)
        for signature in ("", "sha256=00", sign("another secret", body), sign(town.kanal.sms_secret, body + b" ")):
            assert post(town, body, signature).status_code == 401
        assert _ends(journal) == before
    assert post(town, b"x" * 70_000).status_code == 413


def test_a_mail_of_30_megabytes_is_refused_by_size(town: Town) -> None:
    """552 before or after the data, and the next mail is taken."""
    raw = b"From: orang@warga.example\r\nSubject: besar\r\n\r\n" + (b"x" * 998 + b"\r\n") * 30_000
    code, _ = mail(town, raw)
    assert code == 552
    still_works(town)


WRONG_MAIL = [
    pytest.param(b"From: orang@warga.example\r\n\r\n\r\n", 554, b"text", id="no text"),
    pytest.param(b"Subject: \r\n\r\n \r\n", 554, b"text", id="no text, no sender"),
    pytest.param(
        b"From: orang@warga.example\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
        + b"--b\r\nContent-Type: text/plain\r\n\r\nx\r\n" * 10_000 + b"--b--\r\n",
        554, b"parts", id="10,000 parts",
    ),
    pytest.param(b"From: orang@warga.example\r\n" + b"X-Long: y\r\n" * 30_000 + b"\r\ntext\r\n", 554, b"header", id="a header of 300 KB"),
]  # fmt: skip


@pytest.mark.parametrize(("raw", "code", "names"), WRONG_MAIL)
def test_a_wrong_mail_gets_554_with_what_is_wrong(town: Town, raw: bytes, code: int, names: bytes) -> None:
    """The sender's mail server tells him; the beginning is kept sealed as a dead letter."""
    answered, text = mail(town, raw)
    assert answered == code, text
    assert names in text
    still_works(town)


READABLE_MAIL = [
    pytest.param(b"this is not MIME at all, lampu jalan mati " + b"\xff\xfe\x00\x81", id="not MIME"),
    pytest.param(b"From: orang@warga.example\r\nSubject: =?utf-8?b?////?=\r\n\r\nlampu jalan mati \xc3\x28\xa0\xa1\r\n", id="broken UTF-8"),
    pytest.param(b"From: orang@warga.example\r\nSubject: NUL\r\n\r\nlampu\x00jalan mati\r\n", id="NUL"),
    pytest.param(
        b"From: orang@warga.example\r\nContent-Type: text/plain; charset=x-no-such\r\n\r\nlampu jalan mati\r\n", id="unknown charset"
    ),
    pytest.param(b"From: orang@warga.example\r\nContent-Type: multipart/mixed; boundary=\r\n\r\nlampu jalan mati\r\n", id="no boundary"),
]


@pytest.mark.parametrize("raw", READABLE_MAIL)
def test_an_ugly_mail_still_becomes_a_report(town: Town, raw: bytes) -> None:
    """Whatever can be read is read: a citizen's mail program is not his fault."""
    address = f"orang.{uuid.uuid4().hex[:8]}@warga.example"
    code, answer = mail(town, raw.replace(b"orang@", address.partition("@")[0].encode() + b"@"), sender=address)
    assert code == 250, answer
    town.mailbox.wait_for(lambda mails: any(received.recipients == [address] for received in mails), 30)


def test_mail_for_others_is_refused_and_two_recipients_are_taken_one_by_one(town: Town) -> None:
    """550 for other mailboxes; a second recipient is told to come again, since one answer cannot say which was kept."""
    with SMTP("127.0.0.1", town.kanal.smtp_port, timeout=10) as smtp:
        smtp.ehlo()
        smtp.mail("orang@warga.example")
        assert smtp.rcpt("somebody@elsewhere.example")[0] == 550
        assert smtp.rcpt(ADDRESS)[0] == 250
        assert smtp.rcpt("lapor+tag@localhost")[0] == 452


def test_garbage_on_the_smtp_port_harms_nobody(town: Town) -> None:
    """Bytes that are no SMTP, and connections left open, end without an effect on the next citizen."""
    idle = [socket.create_connection(("127.0.0.1", town.kanal.smtp_port), 5) for _ in range(20)]
    with socket.create_connection(("127.0.0.1", town.kanal.smtp_port), 5) as connection:
        connection.sendall(b"\x16\x03\x01" + bytes(range(256)) * 10 + b"\r\n")
        connection.recv(1_000)
    still_works(town)
    for connection in idle:
        connection.close()


def test_the_same_mail_to_two_of_our_addresses_is_one_report(town: Town) -> None:
    """The account is not part of a mail's id: the citizen gets one number."""
    address = f"dua.{uuid.uuid4().hex[:8]}@warga.example"
    raw = (
        f"From: {address}\r\nMessage-ID: <{uuid.uuid4().hex}@warga.example>\r\nSubject: Pohon\r\n\r\nPohon tumbang di kelurahan Menteng\r\n"
    )
    assert mail(town, raw.encode(), address)[0] == 250
    assert mail(town, raw.encode(), address, "lapor+lain@localhost")[0] == 250
    assert mail(town, raw.encode(), address)[0] == 250

    def receipts() -> int:
        return sum(received.recipients == [address] for received in town.mailbox.messages)

    wait_until(lambda: receipts() > 0, PATIENCE_SECONDS, "the receipt")
    after = town.mail_citizen()  # what is behind the three in every queue is told when they are
    after.send("Jalan rusak di kelurahan Cawang", subject="Jalan")
    after.wait_for("Laporan diterima")
    assert receipts() == 1


def _ends(journal: Any) -> dict[str, Any]:
    return {topic: journal.bounds(topic) for topic in (topics.message_received("sms"), topics.DEAD_LETTER)}
