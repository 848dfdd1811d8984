"""Every quick fault once in embedded mode; a file a mode, so that two processes share them. More seeds: `make soak`."""

import pytest

from tests.faults.catalogue import quick
from tests.faults.harness import Fault, Series

MODE = "embedded"


@pytest.mark.parametrize("fault", quick(MODE), ids=lambda fault: fault.name.replace(" ", "-"))
def test_after_a_fault_nothing_is_lost_nothing_happens_twice_and_every_answer_arrives(series: Series, fault: Fault) -> None:
    """Each acknowledged message is settled once, told in order, in the tracker and answered; repeated answers are counted."""
    result = series.run(fault)
    assert result.is_clean, result
