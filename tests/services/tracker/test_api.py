"""The tracker's API over HTTP with a stage loop beside it: every answer of the fixed names, and what a private report hides."""

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from httpx import Response
from kanal_tracker.api import ReportApi
from kanal_tracker.pages import Pages
from kanal_tracker.service import build, staff_token
from kanal_tracker.settings import TrackerSettings

from kanal import topics
from kanal.errors import JournalAway, SetupError
from kanal.testing import BUNGA, jakarta, number, registered
from kanal.web import application

from .story import City, Http, appended, public, requested, routed

TOKEN = "staff-token-of-this-test"
STAFF = {"Authorization": f"Bearer {TOKEN}"}


class Counter:
    """The city with its API and pages, and a thread that runs the stage."""

    def __init__(self, directory: Path) -> None:
        self.city = City(directory)
        self.api = ReportApi(self.city.database, self.city.journal, jakarta(), TOKEN)
        pages = Pages(self.city.database, jakarta())
        app = application("tracker", [pages.router, self.api.router], lambda: True, lambda: True)
        self.http = Http(app)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._turn)

    def _turn(self) -> None:
        while not self._stop.is_set():
            self.city.loop.turn(0.05)

    def start(self) -> None:
        self._thread.start()

    def get(self, name: str = "1", **query: str) -> Response:
        return self.http.get(f"/api/v1/reports/{number(name)}", params=query)

    def act(self, action: str, name: str = "1", **changes: Any) -> Response:
        body = {"action_id": f"action-{action}-{name}", "action": action, "version": 2} | changes
        return self.http.post(f"/api/v1/reports/{number(name)}/actions", json=body, headers=STAFF)

    def close(self) -> None:
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
        self.city.close()


@pytest.fixture
def idle(tmp_path: Path) -> Iterator[Counter]:
    """Reports 1 (private) and 2 (public), routed, at version 2; the stage does not run."""
    counter = Counter(tmp_path)
    counter.city.say(registered("1", text="RAHASIA"), public("2", text="Lampu mati <b>"), routed("1"), routed("2"))
    counter.city.run()
    yield counter
    counter.close()


@pytest.fixture
def counter(idle: Counter) -> Counter:
    """The same with the stage running."""
    idle.start()
    return idle


# Reading.

FIELDS = {"number", "status", "status_label", "category", "category_label", "agency", "channel", "received_at", "due_at", "visibility",
          "text", "area", "area_label", "version", "timeline"}  # fmt: skip


def test_a_report_is_answered_with_the_fixed_names(idle: Counter) -> None:
    """Exactly those that others build on, with these values."""
    response = idle.get("2")
    assert response.status_code == 200
    view = response.json()
    assert set(view) == FIELDS
    assert (view["number"], view["status"], view["status_label"], view["channel"]) == (number("2"), "waiting", "Menunggu", "sms")
    assert (view["visibility"], view["version"]) == ("public", 2)
    assert view["agency"] == {"code": "bina-marga", "name": "Dinas Bina Marga"}
    assert (view["received_at"], view["due_at"]) == ("2026-03-02T05:00:00+00:00", "2026-03-09T05:00:00+00:00")
    assert view["text"] == "Lampu mati <b>"


def test_the_timeline_is_answered_with_the_fixed_names(idle: Counter) -> None:
    """`at`, `status`, `by_role`, `note` and what was done, oldest first."""
    timeline = idle.get("2").json()["timeline"]
    assert [set(line) for line in timeline] == [{"at", "action", "status", "by_role", "note"}] * 2
    assert [(line["status"], line["by_role"], line["note"]) for line in timeline] == [
        ("waiting", "reporter", None),
        ("waiting", "rule", None),
    ]


def test_the_category_is_a_code(idle: Counter) -> None:
    """A plain value like `status`: only the agency is written as code and name."""
    assert idle.get("2").json()["category"] == "street-light"


def test_a_private_report_shows_state_and_agency_only(counter: Counter) -> None:
    """Never text, place or a note, to nobody who only has the number."""
    counter.act("ask", "1", note="Di mana RAHASIA?")
    response = counter.get("1")
    view = response.json()
    assert "RAHASIA" not in response.text
    assert (view["text"], view["area"]) == (None, None)
    assert [line["note"] for line in view["timeline"]] == [None] * 3
    assert (view["status"], view["agency"]["code"]) == ("unclear", "bina-marga")


def test_a_public_report_shows_text_area_and_notes(counter: Counter) -> None:
    """As masked as they are kept."""
    assert counter.act("ask", "2", note="Di mana? Telepon 081200000001").status_code == 200
    view = counter.get("2").json()
    assert view["area"]
    assert view["timeline"][-1]["note"] == "Di mana? Telepon [telp]"


def test_no_answer_holds_the_reporter(idle: Counter) -> None:
    """Neither sender key nor conversation: they would tell that two reports are of one person."""
    for name in ("1", "2"):
        text = idle.get(name).text
        assert registered(name).sender_key not in text
        assert registered(name).conversation not in text


@pytest.mark.parametrize(
    ("lang", "label"), [("id", "Menunggu"), ("en", "Waiting"), ("fr", "Menunggu"), ("", "Menunggu"), ("../en", "Menunggu")]
)
def test_labels_come_in_the_language_asked_for(idle: Counter, lang: str, label: str) -> None:
    """Indonesian when there is none of it."""
    assert idle.get("1", lang=lang).json()["status_label"] == label


@pytest.mark.parametrize(
    "written", [number("2").lower(), number("2").replace("-", ""), number("2")[3:]], ids=["small", "compact", "no prefix"]
)
def test_a_number_is_read_however_it_is_written(idle: Counter, written: str) -> None:
    """And answered in its own form."""
    assert idle.http.get(f"/api/v1/reports/{written}").json()["number"] == number("2")


def test_a_further_message_s_number_finds_the_report(idle: Counter) -> None:
    """It is another name of it, for actions too."""
    idle.city.say(appended("2", "more"))
    idle.city.run()
    assert idle.get("more").json()["number"] == number("2")
    idle.start()
    assert idle.act("accept", "more", version=3).json()["number"] == number("2")


def test_an_unknown_number_is_404(idle: Counter) -> None:
    """With what to do."""
    response = idle.get("77")
    assert (response.status_code, response.json()["error"]) == (404, "number-unknown")
    assert "few minutes" in response.json()["message"]


@pytest.mark.parametrize(
    ("written", "rule"),
    [
        pytest.param("JK-2222-2222-222", "has 11 symbols", id="too short"),
        pytest.param(number("1")[:-1] + ("2" if number("1")[-1] != "2" else "3"), "check symbol", id="mistyped"),
        pytest.param("JK-7F3Q-9K2M-4XPO", "symbol 12 (O)", id="letter O"),
        pytest.param("A" * 5_000, "symbols", id="very long"),
        pytest.param("%00", "symbol 1", id="NUL"),
        pytest.param("%27%3B--", "symbol 1", id="quote"),
    ],
)
def test_what_is_no_number_is_400_with_the_rule_that_it_breaks(idle: Counter, written: str, rule: str) -> None:
    """Of both routes."""
    for response in (idle.http.get(f"/api/v1/reports/{written}"), idle.http.post(f"/api/v1/reports/{written}/actions", headers=STAFF,
                     json={"action_id": "action-1", "action": "accept", "version": 1})):  # fmt: skip
        assert (response.status_code, response.json()["error"]) == (400, "not-a-number")
        assert rule in response.json()["message"]


# Acting.


def for_everybody(view: dict[str, Any]) -> dict[str, Any]:
    """Without what only staff see of a public report."""
    lines = [{name: value for name, value in line.items() if name != "reason"} for line in view["timeline"]]
    return {name: value for name, value in view.items() if name in FIELDS} | {"timeline": lines}


def test_an_action_is_answered_with_the_report_after_it(counter: Counter) -> None:
    """Folded already, not only taken down."""
    response = counter.act("accept", "2")
    assert response.status_code == 200
    assert set(response.json()) == FIELDS | {"messages", "merged", "emergency", "to_dispatcher"}
    assert (response.json()["status"], response.json()["version"]) == ("in-progress", 3)
    assert for_everybody(response.json()) == counter.get("2").json()


def test_an_agency_s_whole_work_over_the_api(counter: Counter) -> None:
    """Accept, progress, finish; the dispatcher validates."""
    for version, (action, more) in enumerate(
        [("accept", {}), ("progress", {"note": "x"}), ("finish", {"note": "x", "reason": "no camera"}), ("validate", {})], start=2
    ):
        response = counter.act(action, "2", version=version, **more)
        assert response.status_code == 200, response.text
    assert counter.get("2").json()["status"] == "done"


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Bearer ", "Bearer wrong", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer \u00e9"],
)
def test_without_the_token_it_is_401_and_nothing_is_asked_for(idle: Counter, header: str | None) -> None:
    """Whatever the body and the number."""
    headers = {} if header is None else {"Authorization": header.encode("latin-1")}
    before = len(list(idle.city.journal.scan(topics.REPORTS)))
    for path in (number("1"), number("77"), "nonsense"):
        response = idle.http.post(f"/api/v1/reports/{path}/actions", content=b"{", headers=headers)  # type: ignore[arg-type]
        assert (response.status_code, response.json()["error"]) == (401, "token")
    assert len(list(idle.city.journal.scan(topics.REPORTS))) == before


def test_an_installation_without_a_token_lets_nobody_act(idle: Counter) -> None:
    """An empty token is no token."""
    api = ReportApi(idle.city.database, idle.city.journal, jakarta(), "")
    http = Http(application("tracker", [api.router], lambda: True, lambda: True))
    for header in ("Bearer ", "Bearer"):
        assert http.post(f"/api/v1/reports/{number()}/actions", json={}, headers={"Authorization": header}).status_code == 401


def test_an_action_on_an_unknown_number_is_404(idle: Counter) -> None:
    """And asks for nothing."""
    response = idle.act("accept", "77")
    assert (response.status_code, response.json()["error"]) == (404, "number-unknown")


def test_a_stale_version_is_409_with_the_newer_report(counter: Counter) -> None:
    """So that the page can show what changed."""
    counter.act("accept", "2")
    response = counter.act("reject", "2", reason="x")
    assert (response.status_code, response.json()["error"]) == (409, "stale-version")
    assert for_everybody(response.json()["report"]) == counter.get("2").json()
    assert response.json()["report"]["version"] == 3


@pytest.mark.parametrize(
    ("action", "more", "rule"),
    [
        pytest.param("finish", {"note": "x", "reason": "y"}, "wrong-status", id="not now"),
        pytest.param("refuse", {}, "reason-needed", id="no reason"),
        pytest.param("ask", {"note": " "}, "note-needed", id="no question"),
        pytest.param("assign", {"agency": "nobody"}, "agency-unknown", id="unknown agency"),
        pytest.param("delegate", {"agency": "pertamanan"}, "not-below", id="not below"),
        pytest.param("merge", {"other": number("77")}, "other-unknown", id="unknown other"),
        pytest.param("merge", {"other": "nonsense"}, "not-a-number", id="other is no number"),
        pytest.param("merge", {}, "other-unknown", id="no other"),
        pytest.param("merge", {"other": number("2")}, "other-unknown", id="itself"),
        pytest.param("vanish", {}, "unknown-action", id="unknown action"),
        pytest.param("reopen", {}, "unknown-action", id="for the reporter only"),
        pytest.param("answer", {}, "unknown-action", id="answer is the reporter's"),
    ],
)
def test_what_the_rules_refuse_is_422_with_the_rule_s_name(counter: Counter, action: str, more: dict[str, str], rule: str) -> None:
    """And the report is as it was."""
    before = counter.get("2").json()
    response = counter.act(action, "2", **more)
    assert (response.status_code, response.json()["error"]) == (422, rule)
    assert response.json()["message"]
    assert counter.get("2").json() == before


@pytest.mark.parametrize(
    ("content", "named"),
    [
        pytest.param(b"", "", id="empty"),
        pytest.param(b"{", "", id="no JSON"),
        pytest.param(b"\xff\xfe", "", id="not UTF-8"),
        pytest.param(b"[]", "", id="a list"),
        pytest.param(b'{"action": "accept", "version": 2}', "action_id", id="no action id"),
        pytest.param(b'{"action_id": "action-1", "version": 2}', "action", id="no action"),
        pytest.param(b'{"action_id": "action-1", "action": "accept"}', "version", id="no version"),
        pytest.param(b'{"action_id": "action-1", "action": "accept", "version": "2"}', "version", id="version in quotes"),
        pytest.param(b'{"action_id": "short", "action": "accept", "version": 2}', "action_id", id="action id too short"),
        pytest.param(b'{"action_id": "' + b"x" * 65 + b'", "action": "accept", "version": 2}', "action_id", id="action id too long"),
        pytest.param(b'{"action_id": "action-1", "action": "accept", "version": 2, "nots": "x"}', "nots", id="unknown field"),
        pytest.param(b'{"action_id": "action-1", "action": "ask", "version": 2, "note": "a\\u0000b"}', "note", id="NUL"),
        pytest.param(b'{"action_id": "action-1", "action": "ask", "version": 2, "note": "a\\ud800b"}', "", id="half a surrogate"),
        pytest.param(b'{"action_id": "action-1", "action": "accept", "version": 2, "finish_at": "2030-01-01T00:00:00"}', "finish_at", id="no zone"),
        pytest.param(b'{"action_id": "action-1", "action": "accept", "version": 2, "finish_at": "soon"}', "finish_at", id="no date"),
        pytest.param(b"[" * 60_000, "", id="nested deeply"),
    ],
)  # fmt: skip
def test_a_bad_body_is_422_naming_the_field(idle: Counter, content: bytes, named: str) -> None:
    """Without quoting it, and nothing is asked for."""
    before = len(list(idle.city.journal.scan(topics.REPORTS)))
    response = idle.http.post(f"/api/v1/reports/{number('2')}/actions", content=content, headers=STAFF)
    assert response.status_code == 422, response.text
    assert named in response.text
    assert len(list(idle.city.journal.scan(topics.REPORTS))) == before


def test_a_body_that_is_too_large_is_413(idle: Counter) -> None:
    """Before it is read whole."""
    response = idle.http.post(f"/api/v1/reports/{number('2')}/actions", content=b"x" * 100_000, headers=STAFF)
    assert response.status_code == 413


@pytest.mark.parametrize("finish_at", ["9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00"], ids=["never", "before time"])
def test_a_finish_date_that_makes_no_sense_is_refused(counter: Counter, finish_at: str) -> None:
    """422 naming the field; above all the report's page, API and questions must not break on it."""
    response = counter.act("accept", "2", finish_at=finish_at)
    assert (counter.get("2").status_code, counter.http.get(f"/r/{number('2')}").status_code) == (200, 200)
    assert response.status_code == 422
    assert "finish_at" in response.text


def test_a_finish_date_is_taken(counter: Counter) -> None:
    """In any zone, shown in UTC."""
    day = (datetime.now(UTC) + timedelta(days=5)).replace(microsecond=0)
    response = counter.act("accept", "2", finish_at=day.isoformat())
    assert response.json()["due_at"] == day.isoformat()


def test_the_same_action_id_gets_the_first_answer(counter: Counter) -> None:
    """A form sent twice: one effect, and 200 again although the version has moved on."""
    first = counter.act("accept", "2", action_id="action-1")
    again = counter.act("accept", "2", action_id="action-1")
    assert (first.status_code, again.status_code) == (200, 200)
    assert (first.json()["version"], again.json()["version"]) == (3, 3)
    asked = [stored for stored in counter.city.journal.scan(topics.REPORTS) if stored.headers["ce_source"] == "/kanal/staff"]
    assert len(asked) == 1


def test_a_refused_action_id_stays_refused(counter: Counter) -> None:
    """Also when it would be possible by now: the form has to be looked at again."""
    assert counter.act("finish", "2", action_id="action-1", note="x", reason="y").status_code == 422
    counter.act("accept", "2")
    again = counter.act("finish", "2", action_id="action-1", note="x", reason="y", version=3)
    assert (again.status_code, again.json()["error"]) == (422, "wrong-status")


def test_an_action_id_of_another_report_is_refused(counter: Counter) -> None:
    """It is not an answer to this one."""
    counter.act("accept", "1", action_id="action-1")
    response = counter.act("accept", "2", action_id="action-1")
    assert (response.status_code, response.json()["error"]) == (422, "action-id-used")
    assert counter.get("2").json()["version"] == 2


def test_staff_s_words_are_masked_before_they_are_kept(counter: Counter) -> None:
    """No phone of anybody gets into `reports`, from note or reason."""
    counter.act("reject", "2", reason="telepon 081200000001", note="adi@warga.example")
    kept = b"".join(stored.value or b"" for topic in (topics.REPORTS, topics.REPORT_UPDATED) for stored in counter.city.journal.scan(topic))
    assert b"81200000001" not in kept
    assert b"adi@warga" not in kept


def test_when_the_journal_is_away_it_is_503_with_retry_after(idle: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was taken down."""

    def away(*_arguments: object) -> None:
        raise JournalAway("away")

    monkeypatch.setattr(idle.city.journal, "append", away)
    response = idle.act("accept", "2")
    assert (response.status_code, response.headers["Retry-After"]) == (503, "5")


def test_when_the_tracker_does_not_answer_in_time_the_same_id_asks_again(idle: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    """503 first; taken down once, and answered when the stage is back."""
    monkeypatch.setattr("kanal_tracker.api.ANSWER_SECONDS", 0.05)
    assert idle.act("accept", "2").status_code == 503
    assert idle.act("accept", "2").status_code == 503
    monkeypatch.undo()
    idle.start()
    response = idle.act("accept", "2")
    assert (response.status_code, response.json()["version"]) == (200, 3)


# Wiring.


def test_the_service_has_one_stage_its_tables_and_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, idle: Counter) -> None:
    """Embedded it makes its token among the keys, once."""
    settings = TrackerSettings(data=tmp_path)
    first = staff_token(settings)
    assert staff_token(settings) == first
    assert (tmp_path / "keys" / "staff.token").read_text().strip() == first
    assert staff_token(TrackerSettings(data=tmp_path, staff_token="given")) == "given"

    class Platform:
        database, journal, pack = idle.city.database, idle.city.journal, jakarta()

    service = build(settings, Platform())  # type: ignore[arg-type]
    assert [handler.name for handler in service.handlers] == ["tracker"]
    assert len(service.tables) == 1


def test_in_kafka_mode_a_token_has_to_be_given(tmp_path: Path) -> None:
    """Two processes would make two."""
    with pytest.raises(SetupError, match="KANAL_STAFF_TOKEN"):
        staff_token(TrackerSettings(data=tmp_path, journal="kafka://localhost:9092"))


def test_a_merge_names_the_main_number_of_the_other(idle: Counter) -> None:
    """Given by the number of a further message it is still that report."""
    idle.city.say(appended("2", "more"), requested("accept", "2"))
    idle.city.run()
    idle.start()
    response = idle.act("merge", "1", other=number("more").lower())
    assert response.status_code == 200, response.text
    report = idle.city.report("1")
    assert report is not None
    assert report.merged_into == number("2")


def test_staff_read_what_a_private_report_says_and_nobody_else(counter: Counter) -> None:
    """An agency cannot work on what it cannot read: with the token text, place, notes and messages; a wrong token is told."""
    open_to_all = counter.get("1").json()
    assert (open_to_all["text"], "messages" in open_to_all) == (None, False)
    url = f"/api/v1/reports/{number('1')}"
    for_staff = counter.http.get(url, headers={"Authorization": f"Bearer {TOKEN}"}).json()
    assert for_staff["text"]
    assert [message["channel"] for message in for_staff["messages"]] == ["sms"]
    assert for_staff["merged"] == []
    assert counter.http.get(url, headers={"Authorization": "Bearer wrong"}).status_code == 401


def test_staff_read_what_the_reporters_of_merged_reports_wrote(idle: Counter) -> None:
    """Else who works on the main report would not know what they know. Also of those that were merged into a merged one."""
    idle.city.say(
        registered("3", sender=BUNGA, text="Lampu mati sejak Senin"), registered("4", text="Gelap"), appended("3", "more", sender=BUNGA)
    )
    idle.city.say(requested("merge", "4", other=number("3")), requested("merge", "3", other=number("1")))
    idle.city.run()
    idle.start()
    for_staff = idle.http.get(f"/api/v1/reports/{number('1')}", headers=STAFF).json()
    told = {each["number"]: [message["text"] for message in each["messages"]] for each in for_staff["merged"]}
    assert told == {number("3"): ["Lampu mati sejak Senin", "masih gelap"], number("4"): ["Gelap"]}
    assert "merged" not in idle.get("1").json()


def test_staff_read_the_reasons_and_nobody_else(counter: Counter) -> None:
    """Why an agency refused, or a dispatcher sent work back: the next one in charge has to know, the public page is no place for it."""
    assert counter.act("refuse", "2", version=2, reason="jalan nasional").status_code == 200
    (refused,) = [
        line for line in counter.http.get(f"/api/v1/reports/{number('2')}", headers=STAFF).json()["timeline"] if line["action"] == "refuse"
    ]
    assert refused["reason"] == "jalan nasional"
    assert "jalan nasional" not in counter.get("2").text
    assert "jalan nasional" not in counter.http.get(f"/r/{number('2')}").text
