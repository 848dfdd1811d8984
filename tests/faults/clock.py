"""T10: clocks that are an hour wrong, and that are set right between two starts. Only the wall clock."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime

from tests.faults.harness import Fault, Run
from tests.faults.traffic import Habits
from tests.servers.kanal import KanalProcess

NO_REPEATS = Habits(repeats=False)
HOUR = 3_600


def one_is_wrong(run: Run) -> None:
    """One service is an hour off."""
    _off(run, [run.random.choice(list(run.town.kanal.processes.values()))])


def all_are_wrong(run: Run) -> None:
    """Every service is an hour off, before or behind."""
    _off(run, list(run.town.kanal.processes.values()))


def _off(run: Run, processes: Sequence[KanalProcess]) -> None:
    """Wrong under load, and set right under load."""
    seconds = run.random.choice((-HOUR, HOUR))
    with run.traffic(NO_REPEATS) as traffic:
        traffic.wait_for(5)
        for process in processes:
            process.run_by = ("tests.faults.wrong_clock", str(seconds))
            process.restart()
            off = (_last_word(process) - datetime.now(UTC)).total_seconds()
            assert abs(off - seconds) < HOUR / 2, f"the clock of {process} is not wrong"
        traffic.wait_for(len(run.ledger.sent) + 5)
        for process in processes:
            process.run_by = ()
            process.restart()


def _last_word(process: KanalProcess) -> datetime:
    """When it logged last, by its own clock."""
    lines = [json.loads(line) for line in process.log.read_text().splitlines() if line.startswith("{")]
    return datetime.fromisoformat(lines[-1]["timestamp"])


ONE = "The clock of one service is an hour before or behind, and is set right later"
ALL = "All clocks are an hour before or behind, and are set right later"
FAULTS = [
    Fault("one clock wrong", "T10", ONE, one_is_wrong, ("kafka",), ()),
    Fault("all clocks wrong", "T10", ALL, all_are_wrong, ("embedded",), ("embedded",)),
]
