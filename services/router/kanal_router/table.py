"""The routing table applied: category × area → agencies to ask in order. Pure; the deciding row is in the answer."""

from collections.abc import Sequence
from typing import NamedTuple

from kanal.pack import ANY, KELURAHAN, Pack, RoutingRow

REFUSALS_TO_DISPATCHER = 3
"""The third agency that refuses sends the report to a person."""


class Route(NamedTuple):
    """Where a report goes and why."""

    agency: str
    row: str
    reason: str
    to_dispatcher: bool = False


def route(pack: Pack, category: str, area: str, refused_by: Sequence[str] = (), suggested: str = "") -> Route:
    """The agency for a report of `category` in `area` (empty = unknown) that `refused_by` have refused so far.

    An agency suggested by the one that refused is asked before the table's next candidate. After the third refusal, and
    where the table has no candidate left, the report goes to the dispatchers' agency.
    """
    if len(refused_by) >= REFUSALS_TO_DISPATCHER:
        return Route(pack.fallback_agency, "(refusals)", f"refused {len(refused_by)} times", to_dispatcher=True)
    if suggested and suggested in pack.agencies and suggested not in refused_by:
        return Route(suggested, "(suggestion)", f"suggested by {refused_by[-1]}" if refused_by else "suggested")
    row = deciding_row(pack, category, area)
    for agency in _candidates(row, pack, area):
        if agency not in refused_by:
            return Route(agency, row.row, f"{row.category} in {row.area}")
    return Route(pack.fallback_agency, row.row, "no candidate left", to_dispatcher=True)


def deciding_row(pack: Pack, category: str, area: str) -> RoutingRow:
    """The first row that fits; the loader has checked that the last row fits everything."""
    city = pack.areas[area].city if area in pack.areas else ""
    for row in pack.routing:
        if row.category in (category, ANY) and row.area in (area, city, ANY):
            return row
    raise AssertionError("the last row fits every report")


def _candidates(row: RoutingRow, pack: Pack, area: str) -> list[str]:
    own = pack.areas[area].agency if area in pack.areas else ""
    agencies = [own if agency == KELURAHAN else agency for agency in row.agencies]
    return [agency for agency in agencies if agency]
