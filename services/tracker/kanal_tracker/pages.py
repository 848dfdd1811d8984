"""The public pages: a form for the number and the page of a report. They work without script, on a small phone."""

from datetime import datetime
from typing import Any
from urllib.parse import quote

from babel.dates import format_date, format_datetime, get_timezone_name
from fastapi import APIRouter, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from kanal.database import Database
from kanal.errors import InvalidInput
from kanal.numbers import read_number
from kanal.pack import Pack
from kanal.status import label
from kanal_tracker import tables
from kanal_tracker.machine import Report
from kanal_tracker.tables import Entry
from kanal_tracker.view import report_view
from kanal_tracker.words import ROLES, WORDS, explain

NO_STORE = {"Cache-Control": "no-store", "X-Robots-Tag": "noindex"}
STEPS = ("waiting", "in-progress", "awaiting-validation", "done")
"""The road of an ordinary report, for the picture of its progress."""

_STEP_OF = {"coordinating": 0, "dispatched": 0, "unclear": 0, "follow-up-rejected": 1} | {status: i for i, status in enumerate(STEPS)}
_SHOWN = frozenset({"register", "route", "append", "accept", "refuse", "assign", "delegate", "ask", "answer", "progress", "finish",
                    "validate", "return", "reject", "merge", "unmerge", "reopen"})  # fmt: skip


class Pages:
    """`/` and `/r/{number}`."""

    def __init__(self, database: Database, pack: Pack) -> None:
        self._database = database
        self._pack = pack
        loader = PackageLoader("kanal_tracker")
        self._templates = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
        self.router = APIRouter(include_in_schema=False)
        self.router.add_api_route("/", self.start, methods=["GET", "HEAD"])
        self.router.add_api_route("/r/{number}", self.report, methods=["GET", "HEAD"])

    def start(self, number: str = "", lang: str = "id") -> Response:
        """The form; with a number it leads to its page, or says what is wrong with it."""
        language = self._language(lang)
        problem = ""
        if number.strip():
            try:
                canonical = read_number(number[:64], self._pack.prefix)
            except InvalidInput as error:
                problem = explain(error.rule, language, self._pack.prefix)
            else:
                return RedirectResponse(f"/r/{canonical}?lang={quote(language)}", 303)
        return self._page("start.html", language, 400 if problem else 200, path="/", number=number, problem=problem)

    def report(self, number: str, lang: str = "id") -> Response:
        """200 the report; 404 with what to do; 400 with what is wrong with the number."""
        language = self._language(lang)
        try:
            canonical = read_number(number[:64], self._pack.prefix)
        except InvalidInput as error:
            return self._page(
                "start.html", language, 400, path="/", number=number[:64], problem=explain(error.rule, language, self._pack.prefix)
            )
        with self._database.read() as connection:
            report = tables.find(connection, canonical)
            timeline = tables.timeline_of(connection, report.number) if report else []
        if report is None:
            problem = WORDS[language]["unknown"].format(number=canonical)
            return self._page("start.html", language, 404, path="/", number=canonical, problem=problem)
        return self._page("report.html", language, 200, path=f"/r/{report.number}", **self._shown(report, timeline, language))

    def _shown(self, report: Report, timeline: list[Entry], language: str) -> dict[str, Any]:
        view = report_view(report, timeline, self._pack, language)
        channel = self._pack.channels.get(report.channel)
        lines = [self._line(entry, language, public=report.visibility == "public") for entry in timeline if entry.action in _SHOWN]
        return {
            "view": view,
            "channel": channel.labels[language] if channel else report.channel,
            "received": self._moment(report.received_at, language),
            "due": "" if report.emergency else format_date(report.due_at.astimezone(self._pack.zone), "d MMMM y", locale=language),
            "lines": list(reversed(lines)),
            "steps": [label(step, language) for step in STEPS],
            "step": _STEP_OF.get(report.status, -1),
            "merged_into": report.merged_into,
            "closed": report.status in ("done", "rejected", "merged"),
            "meaning": WORDS[language][f"status:{report.status}"],
        }

    def _line(self, entry: Entry, language: str, *, public: bool) -> dict[str, str]:
        return {
            "at": self._moment(datetime.fromisoformat(entry.at), language),
            "what": WORDS[language][f"action:{entry.action}"],
            "who": self._pack.agencies[self._pack.fallback_agency].name
            if entry.by_role == "dispatcher"
            else ROLES[language][entry.by_role],
            "note": entry.note if public else "",
        }

    def _moment(self, at: datetime, language: str) -> str:
        local = at.astimezone(self._pack.zone)
        zone = get_timezone_name(local, width="short", locale="id")  # WIB, WITA, WIT: what Indonesians call their times
        return f"{format_datetime(local, 'd MMM y, HH.mm', locale=language)} {zone}"

    def _language(self, lang: str) -> str:
        return lang if lang in self._pack.languages else self._pack.languages[0]

    def _page(self, template: str, language: str, status: int, **values: Any) -> Response:
        others = [other for other in self._pack.languages if other != language]
        html = self._templates.get_template(template).render(
            words=WORDS[language],
            example=f"{self._pack.prefix}-7F3Q-9K2M-4XPT",
            language=language,
            others=others,
            city=self._pack.name,
            emergency=self._pack.emergency_number,
            **values,
        )
        return HTMLResponse(html, status, headers=NO_STORE)
