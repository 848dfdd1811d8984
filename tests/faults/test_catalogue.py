"""The catalogue is whole: every fail-point of the code is a row, names tell rows apart. Needs no server."""

import re

from tests.faults.catalogue import CATALOGUE
from tests.faults.kills import POINTS
from tests.servers.kanal import PROJECT


def test_every_fail_point_of_the_reference_is_a_row() -> None:
    """Whoever adds a point adds the kill that tries it."""
    documented = set(re.findall(r"^\| `(<?[a-z-]+>?\.[a-z-]+)`", (PROJECT / "docs/reference/settings.md").read_text(), re.MULTILINE))
    assert documented == {re.sub(r"^[a-z-]+-sender\.", "<sender>.", point) if "-sender" in point else _general(point) for point in POINTS}


def _general(point: str) -> str:
    return point if point.startswith("ingest-") else f"<stage>.{point.partition('.')[2]}"


def test_every_test_of_the_list_has_its_row() -> None:
    """T1 to T16. T5, appends that time out and were written, is what a hanging broker (T4) does to the spool and the outbox."""
    assert {fault.test for fault in CATALOGUE} == {f"T{number}" for number in range(1, 17)} - {"T5"}


def test_names_tell_faults_apart() -> None:
    """A name replays a fault."""
    names = [fault.name for fault in CATALOGUE]
    assert len(names) == len(set(names))
