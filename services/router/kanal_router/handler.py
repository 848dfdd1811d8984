"""The router's stage: registered reports and refusals in, assignments out. It keeps no state of its own."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection

from kanal import topics
from kanal.events import ReportRegistered, ReportRouted, ReportUpdated
from kanal.journal import Place
from kanal.pack import Pack
from kanal.stage import Decision, Emit, Input
from kanal_router.table import Route, route


class RouterHandler:
    """Reads `reports` and `report-updated`; what a person decided is left alone."""

    name = "router"
    topics: Sequence[str] = (topics.REPORTS, topics.REPORT_UPDATED)

    def __init__(self, pack: Pack) -> None:
        self._pack = pack

    def load(self, connection: Connection, inputs: Sequence[Input]) -> None:
        return None

    def decide(self, message: Input, state: Any) -> Decision:
        match message.event:
            case ReportRegistered() as report:
                decided = route(self._pack, report.category, report.area)
                return _routed(report.number, report.category, report.area, decided, 0, message.at)
            case ReportUpdated(action="refuse", accepted=True, decided_by_person=False) as refused:
                decided = route(self._pack, refused.category, refused.area, refused.refused_by, refused.suggested)
                return _routed(refused.number, refused.category, refused.area, decided, len(refused.refused_by), message.at)
        return Decision(outcome="not-for-routing", applied=())  # a repeat does nothing again

    def apply(self, change: Any, state: Any) -> None:
        return None

    def save(self, connection: Connection, changes: Sequence[Any]) -> None:
        return None

    def saved(self) -> None:
        return None

    def due(self, connection: Connection, places: Iterable[Place], now: datetime) -> Sequence[Input]:
        return ()


def _routed(number: str, category: str, area: str, decided: Route, attempt: int, at: datetime) -> Decision:
    event = ReportRouted(
        number=number,
        agency=decided.agency,
        category=category,
        area=area,
        row=decided.row,
        reason=decided.reason,
        attempt=attempt,
        to_dispatcher=decided.to_dispatcher,
        routed_at=at,
    )
    return Decision([Emit(topics.REPORTS, number, event, "routed")], outcome="to-dispatcher" if decided.to_dispatcher else "routed")
