"""Published mails and SMS, torture mails and spam among them, through parsers and rules. The data is not part of the project."""

import json
import logging
import time
from collections import Counter
from pathlib import Path

import pytest
from kanal_ingest_email.mime import parse_mail
from kanal_ingest_email.quotes import cut_quotes
from kanal_ingest_sms.parsing import parse_inbound
from kanal_normalizer.reading import read
from kanal_normalizer.rules import Book, settle
from kanal_normalizer.tables import Memory
from kanal_normalizer.understanding import Understanding

from kanal.errors import InvalidInput
from kanal.events import MessageReceived
from kanal.testing import jakarta, message
from tests.hostile.attack import CPU_SECONDS
from tests.hostile.targets import OWN, mail, normalizer, sms

DATA = Path(__file__).resolve().parents[3] / "shared/data"
FILES = sorted(path for folder in ("mail", "mail-replies", "sms") for path in (DATA / folder).rglob("*") if path.is_file())

pytestmark = pytest.mark.skipif(not FILES, reason="the published mails and SMS are not here")
BEGINNING = 10_000
"""Bytes of a file that are read as one text; the mails among them are read whole."""

_log = logging.getLogger(__name__)


def outcome(arrived: MessageReceived, book: Book) -> str:
    return settle(read(arrived, jakarta()), Memory(), book).outcome


def test_every_published_mail_and_sms_is_understood_or_refused_by_name() -> None:
    """What the world has seen holds no surprise: every file as a mail, its text as an SMS, each for two seconds at most."""
    book = Book(jakarta(), Understanding(jakarta()))
    found: Counter[str] = Counter()
    for path in FILES:
        raw = path.read_bytes()
        started = time.process_time()
        mail(raw)
        sms(raw)
        normalizer(raw[:BEGINNING])
        found[_as_mail(raw, book)] += 1
        for text in _texts(raw):
            found[_as_sms(text, book)] += 1
        assert time.process_time() - started < CPU_SECONDS, path.relative_to(DATA)
    _log.info("%d files: %s", len(FILES), dict(found))
    assert found["mail registered"] > len(FILES) / 2
    assert found["mail refused"] < len(FILES) / 20


def _as_mail(raw: bytes, book: Book) -> str:
    try:
        found = parse_mail(raw, OWN)
    except InvalidInput:
        return "mail refused"
    return f"mail {outcome(message(sender='a@warga.example', text=cut_quotes(found.text), subject=found.subject, automatic=found.automatic), book)}"


def _as_sms(text: str, book: Book) -> str:
    body = json.dumps({"id": "1", "from": "081200000001", "to": "1", "text": text}).encode()
    try:
        return f"sms {outcome(message(text=parse_inbound(body, 'application/json').text), book)}"
    except InvalidInput:
        return "sms refused"


def _texts(raw: bytes) -> list[str]:
    """A text a line, as far as an SMS may be long; of decoded SMS what two libraries made of them."""
    texts = []
    for line in raw.decode("utf-8", "replace").splitlines()[:40]:
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        readings = [row.get(name) for name in ("smspdudecoder", "gsmmodem")] if isinstance(row, dict) else []
        texts += [str(each.get("content", each.get("text", ""))) for each in readings if isinstance(each, dict)] or [line[:2_000]]
    return texts
