"""One Town for all quick faults of a module; a failed run takes a new one."""

from collections.abc import Iterator

import pytest

from tests.faults.harness import Series


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/faults/test_faults" in str(item.path):
            item.add_marker(pytest.mark.servers)


@pytest.fixture(scope="module")
def series(request: pytest.FixtureRequest) -> Iterator[Series]:
    """Runs in the mode of the module that asks."""
    runs = Series(request.module.MODE)
    yield runs
    runs.close()
