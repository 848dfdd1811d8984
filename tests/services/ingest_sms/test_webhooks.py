"""The gateway's way in over a real SQLite journal: 200 only when durable, every refusal with its name, no phone in any record."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

import pytest
from fastapi import FastAPI
from httpx import ASGITransport, AsyncClient, Response
from kanal_ingest_sms.receive import MAX_BODY_BYTES, SmsWebhooks
from sqlalchemy import insert, select
from structlog.testing import capture_logs

from kanal import topics
from kanal.attachments import AttachmentStore
from kanal.contacts import Contact, conversation_key, open_bytes, open_sealed, sender_key
from kanal.database import Database
from kanal.events import ContactSealed, DeadLetter, Event, MessageReceived, Part, ReplySettled
from kanal.ids import derive_id
from kanal.journal import Stored
from kanal.journal.spool import Intake
from kanal.journal.sqlite import SqliteJournal
from kanal.numbers import read_number
from kanal.records import open_record
from kanal.replies import metadata, replies
from kanal.service import Platform
from kanal.testing import ADI, BUNGA, jakarta, keys
from kanal.web import application, signature

SECRET = "gateway secret"
SMS = {"id": "abc-1", "from": "081200000001", "to": "08111272206", "text": "Lampu jalan mati di Cideng"}
TOPICS = (topics.message_received("sms"), topics.contacts("sms"), topics.DEAD_LETTER, topics.REPLY_SETTLED)


class Gateway(NamedTuple):
    """A gateway's side of the webhooks, and what they stand on."""

    app: FastAPI
    journal: SqliteJournal
    database: Database

    def post(self, body: dict[str, Any] | bytes, path: str = "/sms/main/inbound", **headers: str | bytes) -> Response:
        """Signed rightly, unless the test gives another signature."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        usual: dict[str, str | bytes] = {"Content-Type": "application/json", "X-Kanal-Signature": signature(SECRET, raw)}
        return asyncio.run(self._post(path, raw, usual | {name.replace("_", "-"): value for name, value in headers.items()}))

    def post_unsigned(self, body: dict[str, Any]) -> Response:
        return asyncio.run(self._post("/sms/main/inbound", json.dumps(body).encode(), {}))

    async def _post(self, path: str, raw: bytes, headers: dict[str, str | bytes]) -> Response:
        transport = ASGITransport(self.app, raise_app_exceptions=False)
        encoded = {name: value if isinstance(value, bytes) else value.encode() for name, value in headers.items()}
        async with AsyncClient(transport=transport, base_url="http://gateway.example") as client:
            return await client.post(path, content=raw, headers=[(name.encode(), value) for name, value in encoded.items()])

    def records(self) -> list[Stored]:
        """Everything in the journal that this adapter may write, in its order."""
        return sorted((each for topic in TOPICS for each in self.journal.scan(topic)), key=lambda stored: stored.offset)

    def events(self) -> list[Event]:
        return [open_record(stored).event for stored in self.records()]

    def states(self) -> dict[str, str]:
        with self.database.read() as connection:
            return {row.reply_id: row.state for row in connection.execute(select(replies.c.reply_id, replies.c.state))}


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    journal, database = SqliteJournal(tmp_path / "journal.db"), Database(f"sqlite:///{tmp_path / 'state.db'}")
    database.create_tables(metadata)
    intake = Intake("ingest-sms", journal)
    platform = Platform(journal, intake, database, jakarta(), keys(), AttachmentStore(tmp_path / "attachments"))
    app = application("ingest-sms", [SmsWebhooks(platform, {"main": SECRET}).router], lambda: True, lambda: True)
    yield Gateway(app, journal, database)
    intake.close()
    journal.close()
    database.close()


def test_an_sms_is_acknowledged_with_its_id_and_number(gateway: Gateway) -> None:
    """The number that it gets if it becomes a report is there at once, and it is a valid one."""
    answer = gateway.post(SMS)

    assert (answer.status_code, sorted(answer.json())) == (200, ["message_id", "number"])
    assert answer.json()["message_id"] == derive_id("sms", "main", "abc-1")
    assert read_number(answer.json()["number"], "JK") == answer.json()["number"]


def test_what_is_acknowledged_is_in_the_journal_contact_first(gateway: Gateway) -> None:
    """A sender must be able to answer as soon as the message is read: the sealed contact stands before it."""
    answer = gateway.post(SMS).json()
    contact, message = gateway.events()
    records = gateway.records()

    assert isinstance(contact, ContactSealed)
    assert isinstance(message, MessageReceived)
    assert (message.message_id, message.number, message.text) == (answer["message_id"], answer["number"], SMS["text"])
    assert (message.channel, message.account, message.visibility, message.automatic) == ("sms", "main", "private", "")
    assert message.sender_key == sender_key(keys(), "phone", ADI)
    assert message.conversation == contact.conversation == conversation_key(keys(), "sms", "main", ADI)
    assert [(each.topic, each.key) for each in records] == [
        (topics.contacts("sms"), message.conversation),
        (topics.message_received("sms"), message.sender_key),
    ]


def test_the_contact_is_sealed_and_only_the_private_key_opens_it(gateway: Gateway) -> None:
    """Nobody but a sender reads the phone: it is in no byte of any record."""
    gateway.post(SMS)
    contact = gateway.events()[0]

    assert isinstance(contact, ContactSealed)
    assert open_sealed(keys(), contact.sealed) == Contact(ADI, account="main")
    assert phones_in(gateway) == []


@pytest.mark.parametrize("typed", ["6281200000001", "+6281200000001", "0812-0000-0001"])
def test_the_same_phone_is_the_same_sender_however_it_is_written(gateway: Gateway, typed: str) -> None:
    """A gateway that changes its spelling does not make new people."""
    gateway.post(SMS)
    gateway.post(SMS | {"id": "abc-2", "from": typed})
    senders = {event.sender_key for event in gateway.events() if isinstance(event, MessageReceived)}

    assert len(senders) == 1


def test_the_same_id_again_gets_the_same_answer_and_the_same_record_id(gateway: Gateway) -> None:
    """A gateway that did not hear the 200 sends again: nothing is drawn anew, readers drop the repeat."""
    first, again = gateway.post(SMS), gateway.post(SMS)
    ids = [each.headers["ce_id"] for each in gateway.records() if each.topic == topics.message_received("sms")]

    assert first.json() == again.json()
    assert set(ids) == {first.json()["message_id"]}


def test_another_id_is_another_message(gateway: Gateway) -> None:
    """The same text twice may be meant: the normalizer decides, not the adapter."""
    assert gateway.post(SMS).json() != gateway.post(SMS | {"id": "abc-2"}).json()


def test_a_form_is_taken_as_well(gateway: Gateway) -> None:
    """Signed over the raw body, whatever its form."""
    answer = gateway.post(urlencode(SMS).encode(), Content_Type="application/x-www-form-urlencoded")

    assert answer.status_code == 200
    assert answer.json() == gateway.post(SMS).json()


def test_a_part_is_a_message_of_its_own(gateway: Gateway) -> None:
    """Parts are joined later, in SQL: here each is made durable by itself."""
    answers = [gateway.post(SMS | {"id": f"abc-{n}", "part_reference": 7, "part_number": n, "part_total": 2}) for n in (1, 2)]
    parts = [event.part for event in gateway.events() if isinstance(event, MessageReceived)]

    assert [answer.status_code for answer in answers] == [200, 200]
    assert parts == [Part("7", 1, 2), Part("7", 2, 2)]


def test_a_sender_that_cannot_be_answered_is_kept_and_marked(gateway: Gateway) -> None:
    """Advertising under a name opens no report; there is no address to seal."""
    answer = gateway.post(SMS | {"from": "PULSA"})
    (message,) = gateway.events()

    assert answer.status_code == 200
    assert isinstance(message, MessageReceived)
    assert message.automatic == "no-reply-sender"


# Refusals.


@pytest.mark.parametrize(
    "given",
    [
        pytest.param("", id="empty"),
        pytest.param("sha256=" + "0" * 64, id="wrong"),
        pytest.param(signature("another secret", json.dumps(SMS).encode()), id="another secret"),
        pytest.param(signature(SECRET, json.dumps(SMS | {"text": "x"}).encode()), id="another body"),
        pytest.param(signature(SECRET, json.dumps(SMS).encode()).removeprefix("sha256="), id="without its kind"),
        pytest.param("sha256=é", id="not ASCII"),
    ],
)
def test_a_wrong_signature_is_refused_and_nothing_is_kept(gateway: Gateway, given: str) -> None:
    """Whoever does not know the secret writes nothing into the journal."""
    answer = gateway.post(SMS, X_Kanal_Signature=given.encode("latin-1"))

    assert (answer.status_code, answer.json()["error"]) == (401, "signature")
    assert gateway.records() == []


def test_a_missing_signature_is_refused(gateway: Gateway) -> None:
    """An open webhook would take anything."""
    assert gateway.post_unsigned(SMS).status_code == 401
    assert gateway.records() == []


@pytest.mark.parametrize(
    ("body", "field"),
    [
        pytest.param({**SMS, "text": None}, "text", id="no text"),
        pytest.param({**SMS, "text": "a\x00b"}, "text", id="NUL"),
        pytest.param({**SMS, "text": "x" * 10_001}, "text", id="10,001 characters"),
        pytest.param({**SMS, "id": ""}, "id", id="empty id"),
        pytest.param({**SMS, "part_total": 10_000, "part_number": 1, "part_reference": "7"}, "part_total", id="10,000 parts"),
        pytest.param({**SMS, "part_total": 2, "part_number": 1}, "part_reference", id="no reference"),
        pytest.param(b'{"from": "081200000001", "text": "\xff"}', "body", id="broken UTF-8"),
        pytest.param(b"from=081200000001", "body", id="not JSON"),
        pytest.param({**SMS, "part_total": "²", "part_number": 1, "part_reference": "7"}, "part_total", id="a digit that is no number"),
    ],
)
def test_a_bad_body_names_its_field_and_is_kept_sealed(gateway: Gateway, body: Any, field: str) -> None:
    """The gateway signed it, a citizen may be behind it: a person can look at it, and nobody else reads it."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = gateway.post(body)
    (letter,) = gateway.events()

    assert (answer.status_code, answer.json()["error"], answer.json()["field"]) == (422, "invalid", field)
    assert isinstance(letter, DeadLetter)
    assert (letter.stage, letter.cause, letter.sealed) == ("ingest-sms", f"invalid-{field}", True)
    assert open_bytes(keys(), letter.original()) == raw
    assert phones_in(gateway) == []


def test_the_same_bad_body_again_has_the_same_record_id(gateway: Gateway) -> None:
    """A gateway that tries for hours makes one dead letter."""
    for _ in range(3):
        gateway.post(SMS | {"text": ""})

    assert len({each.headers["ce_id"] for each in gateway.records()}) == 1


def test_after_a_bad_body_the_next_sms_is_taken(gateway: Gateway) -> None:
    """One wrong request stops nobody."""
    gateway.post(b"\xff")

    assert gateway.post(SMS).status_code == 200


def test_when_nothing_can_be_kept_the_gateway_is_told_when_to_come_again(gateway: Gateway) -> None:
    """No 200 without the journal: the gateway keeps the SMS and sends it again."""
    gateway.journal.close()
    answer = gateway.post(SMS)

    assert (answer.status_code, answer.json()["error"]) == (503, "try-again")
    assert int(answer.headers["Retry-After"]) > 0


def test_a_bad_body_that_cannot_be_kept_is_to_be_sent_again(gateway: Gateway) -> None:
    """A 422 would make the gateway drop it while we have not kept it."""
    gateway.journal.close()

    assert gateway.post(SMS | {"text": ""}).status_code == 503


@pytest.mark.parametrize("path", ["/sms/other/inbound", "/sms/other/delivery", "/sms/MAIN/inbound"])
def test_an_unknown_gateway_is_not_found(gateway: Gateway, path: str) -> None:
    """Only the pack's gateways exist."""
    answer = gateway.post(SMS, path)

    assert (answer.status_code, answer.json()["error"]) == (404, "gateway-unknown")
    assert gateway.records() == []


def test_a_body_over_the_limit_is_refused_unread(gateway: Gateway) -> None:
    """Nobody fills the memory: 64 KiB is more than any SMS."""
    answer = gateway.post(b" " * (MAX_BODY_BYTES + 1))

    assert (answer.status_code, answer.json()["error"]) == (413, "body-too-large")
    assert gateway.records() == []


def test_a_body_at_the_limit_is_taken(gateway: Gateway) -> None:
    """The limit itself is allowed."""
    assert gateway.post(json.dumps(SMS).encode().ljust(MAX_BODY_BYTES)).status_code == 200


def test_no_answer_and_no_log_line_names_the_phone(gateway: Gateway) -> None:
    """Whatever goes wrong, logs and answers are read by many."""
    with capture_logs() as lines:
        answers = [
            gateway.post(SMS),
            gateway.post(SMS | {"text": ""}),
            gateway.post(SMS, X_Kanal_Signature="x"),
            gateway.post(SMS, "/sms/x/inbound"),
        ]
        gateway.journal.close()
        answers.append(gateway.post(SMS))
    told = str(lines) + "".join(answer.text for answer in answers)

    assert [answer.status_code for answer in answers] == [200, 422, 401, 404, 503]
    assert [line["event"] for line in lines] == ["message_not_kept"]
    assert "81200000001" not in told
    assert SMS["text"] not in told


# Delivery reports.


@pytest.mark.parametrize(
    ("before", "status", "after"),
    [
        ("sent", "delivered", "delivered"),
        ("sent", "DELIVRD", "delivered"),
        ("sent", "failed", "undeliverable"),
        ("sent", "expired", "undeliverable"),
        ("sent", "enroute", "sent"),
        ("delivered", "delivered", "delivered"),
        ("delivered", "failed", "delivered"),
        ("waiting", "delivered", "waiting"),
        ("failed", "delivered", "failed"),
    ],
)
def test_a_delivery_report_moves_a_sent_reply_only(gateway: Gateway, before: str, status: str, after: str) -> None:
    """What the network says of an SMS that went out is noted once; nothing else changes."""
    add_reply(gateway, before)
    answer = gateway.post({"id": "r1", "status": status}, "/sms/main/delivery")

    assert (answer.status_code, answer.json()) == (200, {"ok": True})
    assert gateway.states() == {"r1": after}


def test_a_delivery_is_told_to_operators(gateway: Gateway) -> None:
    """`reply-settled` says what became of it, and a repeat of the report has the same id."""
    add_reply(gateway, "sent")
    for _ in range(2):
        gateway.post(b"id=r1-2&status=delivered", "/sms/main/delivery", Content_Type="application/x-www-form-urlencoded")
    settled = gateway.events()

    assert all(isinstance(event, ReplySettled) and (event.reply_id, event.outcome) == ("r1", "delivered") for event in settled)
    assert len({each.headers["ce_id"] for each in gateway.records()}) == 1


@pytest.mark.parametrize(
    ("body", "status"),
    [
        pytest.param({"id": "never sent", "status": "delivered"}, 200, id="unknown reply"),
        pytest.param({"status": "delivered"}, 422, id="no id"),
        pytest.param({"id": "r1"}, 422, id="no status"),
        pytest.param(b"\xff", 422, id="broken UTF-8"),
    ],
)
def test_a_delivery_report_that_fits_nothing_changes_nothing(gateway: Gateway, body: Any, status: int) -> None:
    """A gateway may report what another sent; a wrong report is named."""
    add_reply(gateway, "sent")

    assert gateway.post(body, "/sms/main/delivery").status_code == status
    assert (gateway.states(), gateway.records()) == ({"r1": "sent"}, [])


def test_a_delivery_report_is_signed_as_well(gateway: Gateway) -> None:
    """Nobody else may mark answers as delivered."""
    add_reply(gateway, "sent")

    assert gateway.post({"id": "r1", "status": "delivered"}, "/sms/main/delivery", X_Kanal_Signature="sha256=0").status_code == 401
    assert gateway.states() == {"r1": "sent"}


def add_reply(gateway: Gateway, state: str) -> None:
    """An answer as the sender left it."""
    texts = dict.fromkeys(("conversation", "number", "reason"), "") | {"kind": "received", "language": "id", "reply_values": "{}"}
    numbers = dict.fromkeys(("position", "requested_at", "queued_at", "attempts", "repeats", "next_at", "claimed_until"), 0)
    with gateway.database.begin() as connection:
        connection.execute(insert(replies), [{"reply_id": "r1", "channel": "sms", "state": state, **texts, **numbers}])


def phones_in(gateway: Gateway) -> list[str]:
    """Phones that stand readable in any record: key, headers or value."""
    written = "\n".join(f"{each.key} {each.headers} {(each.value or b'').decode()}" for each in gateway.records())
    return [phone for phone in (ADI[3:], BUNGA[3:], "0812-0000-0001") if phone in written]
