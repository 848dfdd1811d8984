"""The wrong clock is wrong, and only the clock."""

import subprocess
import sys
import time

import pytest

SAY = "import time, datetime; print(time.time(), datetime.datetime.now(datetime.UTC).timestamp(), time.monotonic()); time.sleep(0.01)"


@pytest.mark.parametrize("seconds", [-3_600, 3_600])
def test_a_module_runs_with_its_wall_clock_off(seconds: int) -> None:
    """By so many seconds; time goes on, waiting works, and the steady clock is everybody's."""
    command = [sys.executable, "-m", "tests.faults.wrong_clock", str(seconds), "timeit", "-n", "1", "-r", "2", SAY]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    (first, first_moment, _), (second, _, steady) = [[float(word) for word in line.split()] for line in said[:2]]
    assert abs(first - time.time() - seconds) < 60
    assert abs(first - first_moment) < 1
    assert second >= first + 0.01
    assert 0 <= time.monotonic() - steady < 60
