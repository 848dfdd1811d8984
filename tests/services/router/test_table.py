"""The routing table applied: who gets a report, and which row says so. The first rows are the city's own, the others made up."""

import pytest
from kanal_router.table import Route, deciding_row, route

from kanal.pack import ANY, KELURAHAN, Pack, RoutingRow
from kanal.testing import jakarta

CIDENG = "31.71.01.1002"
SERDANG = "31.71.03.1004"


def pack_with(*rows: tuple[str, str, str]) -> Pack:
    """The city with a routing table of its own: category, area, agencies; the row's name is its place."""
    made = [RoutingRow(f"R{n}", category, area, tuple(agencies.split())) for n, (category, area, agencies) in enumerate(rows, start=1)]
    return jakarta()._replace(routing=tuple(made))


@pytest.mark.parametrize(
    ("category", "area", "agency", "row"),
    [
        pytest.param("tree", CIDENG, "pertamanan", "R01", id="tree"),
        pytest.param("tree", "", "pertamanan", "R01", id="tree, place unknown"),
        pytest.param("litter", CIDENG, "kelurahan-cideng", "R02", id="litter: the kelurahan of the place"),
        pytest.param("litter", SERDANG, "kelurahan-serdang", "R02", id="litter elsewhere"),
        pytest.param("litter", "", "lingkungan-hidup", "R02", id="litter, place unknown: the next candidate"),
        pytest.param("street-light", CIDENG, "bina-marga", "R03", id="street light"),
        pytest.param("illegal-parking", CIDENG, "dinas-perhubungan", "R05", id="illegal parking"),
        pytest.param("neighbourhood-upkeep", "", "pertamanan", "R18", id="upkeep, place unknown"),
        pytest.param("other", CIDENG, "biro-pemerintahan", "R49", id="nothing understood"),
        pytest.param("never-heard-of", "", "biro-pemerintahan", "R49", id="a category that left the pack"),
        pytest.param("tree", "99.99.99.9999", "pertamanan", "R01", id="an area that left the pack"),
    ],
)
def test_a_report_goes_where_the_citys_table_says(category: str, area: str, agency: str, row: str) -> None:
    """Agencies and their rows as the city keeps them."""
    assert route(jakarta(), category, area)[:2] == (agency, row)


def test_every_category_has_an_agency_with_and_without_a_place() -> None:
    """No report that was understood is left to a dispatcher because the table forgot it."""
    routes = {(code, area): route(jakarta(), code, area) for code in jakarta().categories for area in ("", CIDENG)}

    assert [each for each, decided in routes.items() if decided.to_dispatcher or decided.agency not in jakarta().agencies] == []


ROWS = pack_with(
    ("tree", CIDENG, "satpol-pp"),
    ("tree", "Jakarta Pusat", "bina-marga"),
    ("tree", ANY, "pertamanan"),
    (ANY, CIDENG, "lingkungan-hidup"),
    (ANY, ANY, "biro-pemerintahan"),
)


@pytest.mark.parametrize(
    ("category", "area", "row"),
    [
        pytest.param("tree", CIDENG, "R1", id="category and kelurahan"),
        pytest.param("tree", SERDANG, "R2", id="category and city"),
        pytest.param("tree", "31.74.05.1002", "R3", id="category in another city"),
        pytest.param("tree", "", "R3", id="category, place unknown"),
        pytest.param("flood", CIDENG, "R4", id="any category of a kelurahan"),
        pytest.param("flood", SERDANG, "R5", id="nothing fits but the last"),
    ],
)
def test_the_first_row_that_fits_decides(category: str, area: str, row: str) -> None:
    """An agency puts its exceptions above the rule."""
    assert deciding_row(ROWS, category, area).row == row


def test_a_row_that_stands_lower_never_decides_before_a_higher() -> None:
    """Order is by row, not by how exactly it fits: what is written first is meant."""
    pack = pack_with(("tree", ANY, "pertamanan"), ("tree", CIDENG, "satpol-pp"), (ANY, ANY, "biro-pemerintahan"))

    assert route(pack, "tree", CIDENG).row == "R1"


# After refusals.

LITTER = pack_with(("litter", ANY, f"{KELURAHAN} lingkungan-hidup satpol-pp"), (ANY, ANY, "biro-pemerintahan"))


@pytest.mark.parametrize(
    ("area", "refused_by", "suggested", "expected"),
    [
        pytest.param(CIDENG, (), "", Route("kelurahan-cideng", "R1", "litter in *"), id="first"),
        pytest.param(CIDENG, ("kelurahan-cideng",), "", Route("lingkungan-hidup", "R1", "litter in *"), id="one refused"),
        pytest.param(
            CIDENG, ("kelurahan-cideng", "lingkungan-hidup"), "", Route("satpol-pp", "R1", "litter in *"), id="two refused: the third"
        ),
        pytest.param("", ("lingkungan-hidup",), "", Route("satpol-pp", "R1", "litter in *"), id="no place: the kelurahan is passed over"),
        pytest.param(
            CIDENG, ("kelurahan-cideng",), "satpol-pp", Route("satpol-pp", "(suggestion)", "suggested by kelurahan-cideng"), id="suggestion"
        ),
        pytest.param(
            CIDENG, ("kelurahan-cideng",), "pertamanan", Route("pertamanan", "(suggestion)", "suggested by kelurahan-cideng"),
            id="suggestion that is not in the row",
        ),
        pytest.param(
            CIDENG, ("kelurahan-cideng",), "kelurahan-cideng", Route("lingkungan-hidup", "R1", "litter in *"),
            id="suggests itself: the table goes on",
        ),
        pytest.param(
            CIDENG, ("lingkungan-hidup", "satpol-pp"), "lingkungan-hidup", Route("kelurahan-cideng", "R1", "litter in *"),
            id="suggests one that has refused: the table goes on",
        ),
        pytest.param(CIDENG, ("kelurahan-cideng",), "nobody", Route("lingkungan-hidup", "R1", "litter in *"), id="suggests nobody known"),
        pytest.param(
            CIDENG, ("kelurahan-cideng", "lingkungan-hidup", "satpol-pp"), "",
            Route("biro-pemerintahan", "(refusals)", "refused 3 times", to_dispatcher=True), id="third refusal",
        ),
        pytest.param(
            CIDENG, ("pertamanan", "bina-marga", "transjakarta"), "satpol-pp",
            Route("biro-pemerintahan", "(refusals)", "refused 3 times", to_dispatcher=True), id="third refusal goes before a suggestion",
        ),
        pytest.param(
            "", ("lingkungan-hidup", "satpol-pp"), "", Route("biro-pemerintahan", "R1", "no candidate left", to_dispatcher=True),
            id="no candidate left",
        ),
    ],
)  # fmt: skip
def test_after_a_refusal_the_next_is_asked_and_then_a_person(
    area: str, refused_by: tuple[str, ...], suggested: str, expected: Route
) -> None:
    """A suggestion first, then the row's next candidate, after three refusals or at the end of the row a dispatcher."""
    assert route(LITTER, "litter", area, refused_by, suggested) == expected


def test_nobody_is_asked_twice_and_three_refusals_end_it() -> None:
    """Whatever the row, a report does not go round in circles."""
    for category in jakarta().categories:
        refused: tuple[str, ...] = ()
        while not (decided := route(jakarta(), category, CIDENG, refused)).to_dispatcher:
            assert decided.agency not in refused
            refused = (*refused, decided.agency)
        assert len(refused) <= 3
