"""The list of faults: every row is run in `make test` (the quick ones) and by the soak, and stands in docs/reference/reliability.md."""

from collections.abc import Sequence

from tests.faults import broker, channels, clock, database, delivery, disk, kills, leak, members, poison
from tests.faults.harness import Fault

CATALOGUE: Sequence[Fault] = (
    *kills.FAULTS,
    *members.FAULTS,
    *broker.FAULTS,
    *database.FAULTS,
    *channels.FAULTS,
    *poison.FAULTS,
    *delivery.FAULTS,
    *clock.FAULTS,
    *disk.FAULTS,
    *leak.FAULTS,
)


def quick(mode: str) -> list[Fault]:
    """What `make test` runs in this mode."""
    return [fault for fault in CATALOGUE if mode in fault.quick and mode in fault.modes]
