"""The way out: what is posted to a gateway on loopback, and what its answers mean."""

import hashlib
import hmac
import json
import threading
from base64 import b64encode
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from kanal_ingest_sms.send import Gateway, SmsDeliver
from kanal_ingest_sms.settings import gateway_settings

from kanal.contacts import Contact
from kanal.errors import SetupError, TemporaryFailure
from kanal.sending import AnswerLost, DueReply, Undeliverable
from kanal.testing import ADI, jakarta, number

SECRET = "gateway secret"


class Phonebox(ThreadingHTTPServer):
    """A gateway that keeps what was posted and answers with `status`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answering)
        self.posted: list[tuple[dict[str, str], bytes]] = []
        self.status = 200
        self.hangs_up = False
        self.url = f"http://127.0.0.1:{self.server_address[1]}/send"


class _Answering(BaseHTTPRequestHandler):
    server: Phonebox

    def do_POST(self) -> None:
        raw = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.posted.append(({name.lower(): value for name, value in self.headers.items()}, raw))
        if self.server.hangs_up:
            self.close_connection = True
            return
        self.send_response(self.server.status)
        self.send_header("Content-Length", "0")
        self.send_header("Location", "/elsewhere")
        self.send_header("Connection", "close")
        self.end_headers()

    def log_message(self, *_arguments: Any) -> None:
        """Quiet."""


@pytest.fixture
def phonebox() -> Iterator[Phonebox]:
    server = Phonebox()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def outbox(tmp_path: Path) -> Path:
    return tmp_path / "outbox"


def deliver(url: str, outbox: Path, **changes: Any) -> None:
    values: dict[str, Any] = {
        "reply_id": "r1", "kind": "received", "number": number(), "language": "id", "values": {"number": number()},
        "contact": Contact(ADI, account="main"),
    }  # fmt: skip
    way_out = SmsDeliver(jakarta(), {"main": Gateway(url, SECRET)}, "http://localhost:8000", outbox)
    way_out.deliver(DueReply(**values | changes))


def test_an_answer_is_posted_as_json_and_signed_over_the_raw_body(phonebox: Phonebox, outbox: Path) -> None:
    """The gateway checks HMAC-SHA256 of exactly the bytes that it got."""
    deliver(phonebox.url, outbox)
    ((headers, raw),) = phonebox.posted
    expected = hmac.new(SECRET.encode(), raw, hashlib.sha256).hexdigest()

    assert headers["x-kanal-signature"] == f"sha256={expected}"
    assert headers["content-type"] == "application/json"
    assert {name: value for name, value in json.loads(raw).items() if name != "text"} == {"id": "r1", "to": ADI}
    assert f"Laporan diterima. Nomor: {number()}." in json.loads(raw)["text"]


def test_an_answer_in_english_has_no_link_and_fits_one_sms(phonebox: Phonebox, outbox: Path) -> None:
    """Links are not for SMS; the number and 112 are."""
    values = {"number": number(), "emergency": "112", "ask_place": "yes", "incomplete": "yes"}
    deliver(phonebox.url, outbox, language="en", values=values)
    text = json.loads(phonebox.posted[0][1])["text"]

    assert text.startswith(f"IN DANGER? Call 112 NOW. Report received. Number: {number()}.")
    assert "http" not in text
    assert len(text) <= 160


def test_a_long_answer_is_several_sms_with_ids_of_their_own(phonebox: Phonebox, outbox: Path) -> None:
    """The gateway can drop a repeat of each."""
    deliver(phonebox.url, outbox, kind="question", values={"number": number(), "note": "Di mana persisnya? " * 20})
    sms = [json.loads(raw) for _, raw in phonebox.posted]

    assert [each["id"] for each in sms] == [f"r1-{n}" for n in range(1, len(sms) + 1)]
    assert len(sms) > 1
    assert all(len(each["text"]) <= 160 and each["to"] == ADI for each in sms)


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_a_taken_sms_is_sent(phonebox: Phonebox, outbox: Path, status: int) -> None:
    """Any 2xx: the gateway has it."""
    phonebox.status = status

    deliver(phonebox.url, outbox)

    assert len(phonebox.posted) == 1


@pytest.mark.parametrize("status", [401, 403, 407, 408, 409, 425, 429, 503])
def test_a_passing_refusal_is_tried_again_later(phonebox: Phonebox, outbox: Path, status: int) -> None:
    """Overload, our wrong secret, their failure: nothing of it is the citizen's fault."""
    phonebox.status = status

    with pytest.raises(TemporaryFailure) as failure:
        deliver(phonebox.url, outbox)

    assert failure.value.reason == f"gateway-{status}"
    assert not isinstance(failure.value, AnswerLost)


@pytest.mark.parametrize("status", [500, 502, 504])
def test_a_gateway_that_breaks_may_have_sent_the_sms(phonebox: Phonebox, outbox: Path, status: int) -> None:
    """It goes out again and is counted: nobody knows whether the citizen has read it."""
    phonebox.status = status

    with pytest.raises(AnswerLost) as failure:
        deliver(phonebox.url, outbox)

    assert failure.value.reason == f"gateway-{status}"


@pytest.mark.parametrize("status", [400, 410, 422])
def test_a_number_that_the_gateway_refuses_is_undeliverable(phonebox: Phonebox, outbox: Path, status: int) -> None:
    """Trying again would not help."""
    phonebox.status = status

    with pytest.raises(Undeliverable) as failure:
        deliver(phonebox.url, outbox)

    assert failure.value.reason == f"gateway-{status}"


@pytest.mark.parametrize("status", [301, 302, 307, 308, 404, 405])
def test_a_wrong_address_of_the_gateway_loses_no_answer(phonebox: Phonebox, outbox: Path, status: int) -> None:
    """A moved or mistyped sending URL is our mistake: answers wait until somebody mends it, and no redirect is followed."""
    phonebox.status = status

    with pytest.raises(TemporaryFailure):
        deliver(phonebox.url, outbox)

    assert len(phonebox.posted) == 1


def test_a_lost_answer_is_told_apart(phonebox: Phonebox, outbox: Path) -> None:
    """The gateway may have taken it: the repeat is counted."""
    phonebox.hangs_up = True

    with pytest.raises(AnswerLost) as failure:
        deliver(phonebox.url, outbox)

    assert failure.value.reason == "gateway-silent"


def test_a_gateway_that_cannot_be_reached_has_taken_nothing(outbox: Path) -> None:
    """Nobody listens: it is tried again, and no repeat is counted since nothing went out."""
    server = Phonebox()
    server.server_close()

    with pytest.raises(TemporaryFailure) as failure:
        deliver(server.url, outbox)

    assert not isinstance(failure.value, AnswerLost)


def test_a_proxy_that_the_environment_names_is_used(phonebox: Phonebox, outbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many a city lets its servers out through one only; `NO_PROXY` names what is reached without it."""
    proxy = phonebox.url.removesuffix("/send").replace("//", "//kanal:a%40b@")
    monkeypatch.setenv("http_proxy", proxy)
    monkeypatch.setenv("no_proxy", "inside.example")

    deliver("http://gateway.example/send", outbox)
    assert phonebox.posted[0][0]["host"] == "gateway.example"
    assert phonebox.posted[0][0]["proxy-authorization"] == "Basic " + b64encode(b"kanal:a@b").decode()

    with pytest.raises(TemporaryFailure):
        deliver("http://inside.example/send", outbox)


def test_a_proxy_that_hangs_up_may_have_passed_the_sms_on(phonebox: Phonebox, outbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a proxy that was never reached has taken nothing."""
    monkeypatch.setenv("http_proxy", phonebox.url.removesuffix("/send"))
    phonebox.hangs_up = True

    with pytest.raises(AnswerLost):
        deliver("http://gateway.example/send", outbox)

    monkeypatch.setenv("http_proxy", "127.0.0.1:1")
    with pytest.raises(TemporaryFailure) as failure:
        deliver("http://gateway.example/send", outbox)
    assert not isinstance(failure.value, AnswerLost)


def test_a_sending_address_that_is_none_is_told(outbox: Path) -> None:
    """At the start, without quoting it: it may hold a password."""
    with pytest.raises(SetupError, match="gateway main") as refused:
        deliver("https://gateway.example:99999/", outbox)

    assert "99999" not in str(refused.value)


def test_no_error_names_the_citizen(phonebox: Phonebox, outbox: Path) -> None:
    """Errors go to logs: no phone, no text, no cause that quotes them."""
    phonebox.status = 400

    with pytest.raises(Undeliverable) as failure:
        deliver(phonebox.url, outbox)

    assert ADI[1:] not in f"{failure.value!r} {failure.value.__cause__!r}"


def test_the_gateway_that_a_citizen_wrote_through_must_exist(phonebox: Phonebox, outbox: Path) -> None:
    """A gateway that left the pack cannot answer."""
    with pytest.raises(Undeliverable) as failure:
        deliver(phonebox.url, outbox, contact=Contact(ADI, account="gone"))

    assert (failure.value.reason, phonebox.posted) == ("gateway-unknown", [])


def test_without_an_address_answers_are_kept_as_files(outbox: Path) -> None:
    """A trial shows what would be sent; the same answer again is the same file."""
    deliver("", outbox)
    deliver("", outbox)
    (file,) = outbox.iterdir()

    assert file.name == "r1.json"
    assert json.loads(file.read_text("utf-8")) | {"text": ""} == {"id": "r1", "to": ADI, "text": ""}
    assert number() in json.loads(file.read_text("utf-8"))["text"]
    assert outbox.stat().st_mode & 0o077 == 0


def test_a_sending_address_without_its_scheme_is_refused_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """Told by the name of the setting, before an answer waits for it."""
    monkeypatch.setenv("KANAL_SMS_MAIN_SEND_URL", "gateway.example:8080/send")

    with pytest.raises(SetupError, match="KANAL_SMS_MAIN_SEND_URL"):
        gateway_settings("main")
