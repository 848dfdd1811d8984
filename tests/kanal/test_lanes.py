"""Lanes: everything is done once, results come as they are there, and a failure spoils nothing that follows."""

import threading

import pytest

from kanal.lanes import Lanes


def test_each_thing_is_done_once_and_told() -> None:
    """In whatever order they finish."""
    lanes: Lanes[int, int] = Lanes("test", 3)
    assert sorted(result for found in lanes.run(lambda n: n * n, range(20)) for result in found) == [n * n for n in range(20)]
    assert list(lanes.run(lambda n: n, [])) == []


def test_a_result_does_not_wait_for_a_slower_one() -> None:
    """The second is told while the first is still at work."""
    lanes: Lanes[str, str] = Lanes("test", 2)
    go_on = threading.Event()

    def work(name: str) -> str:
        if name == "slow":
            assert go_on.wait(10)
        return name

    results = lanes.run(work, ["slow", "quick"])
    assert next(results) == ["quick"]
    go_on.set()
    assert list(results) == [["slow"]]


def test_what_fails_is_raised_and_forgotten() -> None:
    """Results of the failed run do not turn up in the next."""
    lanes: Lanes[int, int] = Lanes("test", 2)
    with pytest.raises(ZeroDivisionError):
        list(lanes.run(lambda n: 1 // n, [0, 1, 1, 1]))
    assert sorted(result for found in lanes.run(lambda n: n, [5, 6]) for result in found) == [5, 6]
