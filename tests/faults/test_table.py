"""The page of results: soaks of several days and machines add up, and the same one is never counted twice."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.faults.table import REFERENCE, read_soaks, tally, together, write_table

FAULT = "broker killed"


def ran(at: str, **other: Any) -> dict[str, Any]:
    """The line of a run as a soak writes it."""
    run = {
        "at": at, "commit": "abc1234", "fault": FAULT, "mode": "kafka", "seed": 7, "acknowledged": 40, "lost": 0, "twice": 0,
        "without_answer": 0, "answers_repeated": 1, "repeats_uncounted": 0, "recovery_seconds": 2.0, "load": 1.5, "error": "", "breaches": {},
    }  # fmt: skip
    return {**run, **other}


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    """A docs/reference in which no soak is kept yet."""
    (tmp_path / "reliability.json").write_text("[]")
    return tmp_path


def written(directory: Path, *runs: dict[str, Any]) -> Path:
    results = directory / "results.jsonl"
    results.write_text("".join(json.dumps(run) + "\n" for run in runs))
    return results


def test_soaks_of_two_days_add_up(reference: Path) -> None:
    """Each with its own results, as on two machines."""
    write_table(written(reference, ran("2026-11-24T10:00:00", recovery_seconds=9.0)), reference)
    write_table(written(reference, ran("2026-11-28T10:00:00"), ran("2026-11-28T10:01:00", recovery_seconds=4.0)), reference)
    (row,) = together(read_soaks(reference))
    assert (row.runs, row.failed, row.acknowledged, row.answers_repeated) == (3, 0, 120, 3)
    assert (row.recovery_p50, row.recovery_max) == (3.0, 9.0)
    assert f"| {FAULT} | kafka | 3 | 0 | 120 |" in (reference / "reliability.md").read_text()


def test_a_soak_that_went_on_replaces_itself(reference: Path) -> None:
    """The page may be written while a soak runs."""
    first, second = ran("2026-11-28T10:00:00"), ran("2026-11-28T10:01:00")
    write_table(written(reference, first), reference)
    write_table(written(reference, first, second), reference)
    assert [soak.rows[0].runs for soak in read_soaks(reference)] == [2]


def test_failed_runs_stay_named_with_their_seed(reference: Path) -> None:
    """An error before the check, and a breach that the checker found; neither is forgotten by a later soak."""
    error = ran("2026-11-24T10:00:00", error="ServerError: no rest\nmore", recovery_seconds=0.0)
    breach = ran("2026-11-24T10:01:00", seed=8, lost=1, breaches={"unsettled": ["m1"]})
    write_table(written(reference, error, breach), reference)
    write_table(written(reference, ran("2026-11-28T10:00:00")), reference)
    (row,) = together(read_soaks(reference))
    assert (row.runs, row.failed, row.lost) == (3, 2, 1)
    page = (reference / "reliability.md").read_text()
    assert f"- {FAULT}, kafka, seed 7: ServerError: no rest\n" in page
    assert f"- {FAULT}, kafka, seed 8: unsettled (m1)" in page


def test_a_fault_that_never_came_to_rest_has_no_recovery() -> None:
    """Not zero seconds."""
    soak = tally([ran("2026-11-28T10:00:00", error="ServerError: no rest", recovery_seconds=0.0)])
    assert soak.rows[0].recovery_p50 is None


def test_the_page_is_what_the_kept_soaks_come_to(reference: Path) -> None:
    """Nobody edits the one without the other."""
    (reference / "reliability.json").write_text((REFERENCE / "reliability.json").read_text())
    write_table(reference / "none.jsonl", reference)
    for name in ("reliability.json", "reliability.md"):
        assert (reference / name).read_text() == (REFERENCE / name).read_text()
