"""A whole Kanal for each module of this folder, once embedded and once over Kafka and PostgreSQL, with the outside around it."""

from collections.abc import Iterator

import pytest

from tests.pipeline.town import Town, open_town


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "tests/pipeline" in str(item.path):
            item.add_marker(pytest.mark.servers)


@pytest.fixture(scope="module", params=["embedded", "kafka"])
def town(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """Kanal running, with the world around it."""
    with open_town(request.param, tmp_path_factory.mktemp(request.param)) as running:
        yield running
