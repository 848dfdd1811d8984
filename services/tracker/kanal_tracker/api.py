"""The tracker's API: what became of a report, and the actions of staff. Reading is SQL; an action goes through `reports`."""

import time
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Header, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse

from kanal import topics
from kanal.database import Database
from kanal.errors import InvalidInput
from kanal.events import UpdateRequested
from kanal.ids import derive_id
from kanal.journal import Journal
from kanal.logs import logger
from kanal.masking import mask
from kanal.numbers import read_number
from kanal.pack import Pack
from kanal.records import record_of
from kanal.web import HttpError, check_bearer, read_body
from kanal_tracker import tables
from kanal_tracker.machine import ACTIONS, STAFF_ROLE, Report
from kanal_tracker.tables import Answer
from kanal_tracker.view import report_view, staff_view

MAX_BODY_BYTES = 64 * 1024
MAX_NOTE_CHARACTERS = 1_000
MAX_FINISH = timedelta(days=5 * 365)
ANSWER_SECONDS = 8.0
"""How long an action waits for the tracker's answer; afterwards the same action id asks for it again."""


class ActionBody(msgspec.Struct, forbid_unknown_fields=True):
    """The body of `POST /api/v1/reports/{number}/actions`."""

    action_id: str
    action: str
    version: int
    agency: str = ""
    note: str = ""
    reason: str = ""
    other: str = ""
    finish_at: datetime | None = None


class ReportApi:
    """Routes under `/api/v1/reports`."""

    def __init__(self, database: Database, journal: Journal, pack: Pack, staff_token: str) -> None:
        self._database = database
        self._journal = journal
        self._pack = pack
        self._staff_token = staff_token
        self._log = logger("tracker")
        self.router = APIRouter(prefix="/api/v1/reports", tags=["reports"])
        self.router.add_api_route("/{number}", self.show, methods=["GET"], summary="What became of a report")
        self.router.add_api_route("/{number}/actions", self.act, methods=["POST"], summary="Change a report (staff)")

    def show(self, number: str, lang: str = "id", authorization: Annotated[str | None, Header()] = None) -> Response:
        """200 the report; 400 not a number, with the rule that it breaks; 404 unknown.

        With the staff token also what a private report says (text, place, notes, messages; masked), the reasons of every step, and
        what those wrote whose report was merged into this one; 401 with a wrong token.
        """
        if authorization is not None:
            check_bearer(self._staff_token, authorization)
        report, view = self._view(number, lang, staff=authorization is not None)
        if authorization is not None:
            merged = [each["number"] for each in view["merged"]]
            self._log.info("report_read_by_staff", number=report.number, merged=merged)
        return JSONResponse(view, headers={"Cache-Control": "no-store", "ETag": f'"{report.number}-{report.version}"'})

    async def act(self, number: str, request: Request, lang: str = "id") -> Response:
        """200 the report; 401; 404; 409 with the newer report; 422 naming the rule."""
        check_bearer(self._staff_token, request.headers.get("Authorization"))
        body = _parse(await read_body(request, MAX_BODY_BYTES))
        return await run_in_threadpool(self._act, number, body, lang)

    def _act(self, number: str, body: ActionBody, lang: str) -> Response:
        report, _ = self._view(number, lang)
        answer = self._first_answer(body.action_id)
        if answer is None:
            self._request(report, body)
            answer = self._wait_for_answer(body.action_id)
        if answer.number != report.number:
            raise HttpError(422, "action-id-used", "this action id was used for another report")
        _, view = self._view(number, lang, staff=True)
        if answer.accepted:
            return JSONResponse(view)
        if answer.rule == "stale-version":
            raise HttpError(409, answer.rule, answer.message, {"report": view})
        raise HttpError(422, answer.rule, answer.message, {"report": view})

    def _request(self, report: Report, body: ActionBody) -> None:
        role = STAFF_ROLE.get(body.action)
        if role is None:
            allowed = "only the reporter can do this" if body.action in ACTIONS else f"there are {', '.join(STAFF_ROLE)}"
            raise HttpError(422, "unknown-action", f"{body.action!r} is no action of staff: {allowed}")
        event = UpdateRequested(
            number=report.number, action_id=body.action_id, action=body.action, by_role=role, by=f"staff:{role}", version=body.version,
            agency=body.agency, note=mask(body.note.strip()), reason=mask(body.reason.strip()), other=self._other(body),
            finish_at=body.finish_at, requested_at=datetime.now(UTC),
        )  # fmt: skip
        event_id = derive_id("staff", body.action_id)
        record = record_of(topics.REPORTS, report.number, event, event_id=event_id, source="staff", at=event.requested_at)
        self._journal.append([record])

    def _other(self, body: ActionBody) -> str:
        """The main number of the other report. *Raises:* HttpError 422 when a merge names none, or one that is merged itself."""
        if not body.other:
            return ""
        with self._database.read() as connection:
            other = tables.find(connection, _number(body.other, self._pack.prefix, 422))
        if other is None:
            raise HttpError(422, "other-unknown", "merge needs the number of another report")
        if other.merged_into:
            raise HttpError(422, "other-merged", f"{other.number} is itself merged, into {other.merged_into}")
        return other.number

    def _first_answer(self, action_id: str) -> Answer | None:
        with self._database.read() as connection:
            return tables.answer_to(connection, action_id)

    def _wait_for_answer(self, action_id: str) -> Answer:
        deadline, pause = time.monotonic() + ANSWER_SECONDS, 0.005
        while time.monotonic() < deadline:
            if (answer := self._first_answer(action_id)) is not None:
                return answer
            time.sleep(pause)
            pause = min(pause * 1.5, 0.1)
        raise HttpError(503, "no-answer-yet", "the action was taken down but not decided yet; ask again with the same action id")

    def _view(self, number: str, lang: str, *, staff: bool = False) -> tuple[Report, dict[str, Any]]:
        canonical = _number(number, self._pack.prefix, 400)
        with self._database.read() as connection:
            report = tables.find(connection, canonical)
            timeline = tables.timeline_of(connection, report.number) if report else []
            merged = tables.reported_too(connection, report.number) if report and staff else []
            messages = tables.messages_of(connection, [report.number, *merged]) if report and staff else {}
        if report is None:
            raise HttpError(404, "number-unknown", "this number is not known; if you have just received it, ask again in a few minutes")
        language = lang if lang in self._pack.languages else self._pack.languages[0]
        view = report_view(report, timeline, self._pack, language, staff=staff)
        return report, view | staff_view(report, messages) if staff else view


def _number(text: str, prefix: str, status: int) -> str:
    try:
        return read_number(text[:64], prefix)
    except InvalidInput as error:
        raise HttpError(status, "not-a-number", error.rule) from None


def _parse(raw: bytes) -> ActionBody:
    """*Raises:* HttpError 422 that names the field."""
    try:
        body = msgspec.json.decode(raw, type=ActionBody)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise HttpError(422, "invalid-body", _without_values(str(error))) from None
    if not 8 <= len(body.action_id) <= 64 or not body.action_id.isascii():
        raise InvalidInput("action_id", "must have 8 to 64 ASCII characters")
    if len(body.note) > MAX_NOTE_CHARACTERS or len(body.reason) > MAX_NOTE_CHARACTERS:
        raise InvalidInput("note", f"note and reason may have {MAX_NOTE_CHARACTERS} characters: the citizen may get them by SMS")
    for name in ("agency", "note", "reason", "other", "action", "action_id"):
        if "\x00" in getattr(body, name):
            raise InvalidInput(name, "holds a NUL character")
    if body.finish_at is not None:
        _check_finish(body.finish_at)
    return body


def _check_finish(finish_at: datetime) -> None:
    if finish_at.tzinfo is None:
        raise InvalidInput("finish_at", "needs a time zone")
    now = datetime.now(UTC)
    if not now - timedelta(days=1) <= finish_at <= now + MAX_FINISH:
        raise InvalidInput("finish_at", f"must be between now and {MAX_FINISH.days} days from now")


def _without_values(message: str) -> str:
    """Msgspec's messages name type and path, not values; anything longer is cut."""
    return message[:200]
