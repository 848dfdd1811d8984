"""What is shown of a report: to the API, to the page. Pure. A private report shows its state, never text, place or notes."""

from collections.abc import Mapping, Sequence
from typing import Any

from kanal.pack import Pack
from kanal.status import label
from kanal_tracker.machine import Report
from kanal_tracker.tables import Entry, Message


def report_view(report: Report, timeline: Sequence[Entry], pack: Pack, language: str, *, staff: bool = False) -> dict[str, Any]:
    """The answer of `GET /api/v1/reports/{number}`; times are ISO 8601 in UTC. Staff see text, place and notes of private ones too."""
    open_to_all = staff or report.visibility == "public"
    agency = pack.agencies.get(report.agency)
    area = pack.areas.get(report.area)
    category = pack.categories.get(report.category)
    return {
        "number": report.number,
        "status": report.status,
        "status_label": label(report.status, language),
        "category": report.category,
        "category_label": category.names[language] if category else report.category,
        "agency": {"code": agency.code, "name": agency.name} if agency else None,
        "channel": report.channel,
        "received_at": report.received_at.isoformat(),
        "due_at": report.due_at.isoformat(),
        "visibility": report.visibility,
        "text": report.text if open_to_all else None,
        "area": area.code if open_to_all and area else None,
        "area_label": area.name if open_to_all and area else None,
        "version": report.version,
        "timeline": [
            {"at": entry.at, "action": entry.action, "status": entry.status, "by_role": entry.by_role,
             "note": (entry.note or None) if open_to_all else None} | ({"reason": entry.reason or None} if staff else {})
            for entry in timeline
        ],
    }  # fmt: skip


def staff_view(report: Report, messages: Mapping[str, Sequence[Message]]) -> dict[str, Any]:
    """What staff see besides: whether somebody is in danger, every message of the reporter, and those of reports merged into this one."""
    return {
        "emergency": report.emergency,
        "to_dispatcher": report.to_dispatcher,
        "messages": _shown(messages[report.number]),
        "merged": [{"number": number, "messages": _shown(theirs)} for number, theirs in messages.items() if number != report.number],
    }


def _shown(messages: Sequence[Message]) -> list[dict[str, str]]:
    """Masked, oldest first."""
    return [{"at": message.at, "channel": message.channel, "text": message.text} for message in messages]
