"""City packs: every mistake is told with its place, and the pack that ships loads and says what it must."""

import ast
import itertools
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from kanal.errors import SetupError
from kanal.pack import Pack, find_pack, load_pack
from kanal.replies import render
from kanal.testing import jakarta, number

ROOT = Path(__file__).parents[2]
CHANNELS_OF_RECEIPTS = ("received", "appended", "already-received")
GSM_7 = set(
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà"
)
"""Source: 3GPP TS 23.038, section 6.2.1 (the basic table; symbols of its extension count twice and are not used in texts)."""


@pytest.fixture
def pack(tmp_path: Path) -> Path:
    """A copy of the pack that ships, to make mistakes in."""
    return Path(shutil.copytree(find_pack("jakarta"), tmp_path / "pack"))


def edit(pack: Path, file: str, old: str, new: str) -> None:
    text = (pack / file).read_text("utf-8")
    assert old in text, f"{file} does not hold {old!r}: the test is out of date"
    (pack / file).write_text(text.replace(old, new, 1), "utf-8")


def set_cell(pack: Path, file: str, row: int, column: int, value: str) -> None:
    """Rows as people count them: 1 is the header."""
    import csv

    with (pack / file).open(encoding="utf-8", newline="") as lines:
        rows = list(csv.reader(lines))
    rows[row - 1][column] = value
    with (pack / file).open("w", encoding="utf-8", newline="") as lines:
        csv.writer(lines, lineterminator="\n").writerows(rows)


CELLS = [
    pytest.param("agencies.csv", 3, 2, "nowhere", r"agencies\.csv, row 3, column parent: .*'nowhere'", id="unknown parent"),
    pytest.param("agencies.csv", 4, 0, "Bina Marga", r"agencies\.csv, row 4, column code", id="agency code with a space"),
    pytest.param("agencies.csv", 4, 1, " ", r"agencies\.csv, row 4, column name: is empty", id="agency without a name"),
    pytest.param("agencies.csv", 4, 0, "satpol-pp", r"agencies\.csv, row 4, column code", id="agency twice"),
    pytest.param("areas.csv", 2, 4, "nobody", r"areas\.csv, row 2, column agency: .*'nobody'", id="area of an unknown agency"),
    pytest.param("areas.csv", 5, 1, "", r"areas\.csv, row 5, column name: is empty", id="area without a name"),
    pytest.param("areas.csv", 5, 0, "", r"areas\.csv, row 5, column code: is empty", id="area without a code"),
    pytest.param("areas.csv", 5, 0, "31.01.01.1001", r"areas\.csv, row 5, column code", id="area twice"),
    pytest.param("categories.csv", 3, 3, "soon", r"categories\.csv, row 3, column due_hours", id="hours are no number"),
    pytest.param("categories.csv", 3, 3, "²", r"categories\.csv, row 3, column due_hours", id="hours are a superscript"),
    pytest.param("categories.csv", 3, 3, "-5", r"categories\.csv, row 3, column due_hours", id="hours are negative"),
    pytest.param("categories.csv", 2, 4, "pohon*x", r"categories\.csv, row 2, column words: .*'pohon'", id="weight is no number"),
    pytest.param("categories.csv", 2, 1, "", r"categories\.csv, row 2, column name_id: is empty", id="category without a name"),
    pytest.param("categories.csv", 3, 0, "tree", r"categories\.csv, row 3, column code", id="category twice"),
    pytest.param("routing.csv", 2, 1, "dragons", r"routing\.csv, row 2, column category: .*'dragons'", id="routing of an unknown category"),
    pytest.param("routing.csv", 2, 2, "Atlantis", r"routing\.csv, row 2, column area: .*'Atlantis'", id="routing of an unknown area"),
    pytest.param("routing.csv", 2, 3, "bina-marga;nobody", r"routing\.csv, row 2, column agencies: .*'nobody'", id="routing to an unknown agency"),
    pytest.param("routing.csv", 2, 3, "", r"routing\.csv, row 2, column agencies: is empty", id="routing to nobody"),
    pytest.param("routing.csv", 2, 0, "", r"routing\.csv, row 2, column row: is empty", id="routing row without a name"),
]  # fmt: skip


@pytest.mark.parametrize(("file", "row", "column", "value", "told"), CELLS)
def test_a_wrong_cell_is_told_with_file_row_and_column(pack: Path, file: str, row: int, column: int, value: str, told: str) -> None:
    """Who edits a table in a spreadsheet finds the cell."""
    set_cell(pack, file, row, column, value)
    with pytest.raises(SetupError, match=told):
        load_pack(pack)


def drop_column(pack: Path) -> None:
    edit(pack, "agencies.csv", "code,name,parent,kind", "code,name,parent")


def short_row(pack: Path) -> None:
    edit(pack, "agencies.csv", "satpol-pp,Satuan Polisi Pamong Praja,,satpol\n", "satpol-pp,Satuan Polisi Pamong Praja\n")


def long_row(pack: Path) -> None:
    edit(pack, "agencies.csv", "satpol-pp,Satuan Polisi Pamong Praja,,satpol\n", "satpol-pp,Satuan Polisi Pamong Praja,,satpol,more\n")


def no_last_row(pack: Path) -> None:
    lines = (pack / "routing.csv").read_text().splitlines(keepends=True)
    (pack / "routing.csv").write_text("".join(line for line in lines if ",*,*," not in line))


def latin_1(pack: Path) -> None:
    (pack / "agencies.csv").write_bytes((pack / "agencies.csv").read_bytes().replace(b"Satuan", b"Satu\xe9n"))


def replace(file: str, old: str, new: str) -> Callable[[Path], None]:
    return lambda pack: edit(pack, file, old, new)


FILES = [
    pytest.param(drop_column, r"agencies\.csv, row 1: the columns must be", id="column missing"),
    pytest.param(short_row, r"agencies\.csv, row 3", id="row too short"),
    pytest.param(long_row, r"agencies\.csv, row 3", id="row too long"),
    pytest.param(no_last_row, r"routing\.csv: the last row", id="no row for everything else"),
    pytest.param(latin_1, r"agencies\.csv.*UTF-8", id="not UTF-8"),
    pytest.param(lambda pack: (pack / "areas.csv").unlink(), r"areas\.csv: is missing", id="file missing"),
    pytest.param(lambda pack: (pack / "texts.toml").unlink(), r"texts\.toml: is missing", id="texts missing"),
    pytest.param(replace("pack.toml", 'prefix = "JK"', 'prefix = "JKT"'), r"pack\.toml: prefix", id="prefix of three letters"),
    pytest.param(replace("pack.toml", "due_hours = 168", 'due_hours = "168"'), r"pack\.toml: due_hours", id="number in quotes"),
    pytest.param(replace("pack.toml", "reopen_days = 14", "reopen_days = true"), r"pack\.toml: reopen_days", id="true for a number"),
    pytest.param(replace("pack.toml", "reopen_days = 14", ""), r"pack\.toml: reopen_days", id="value missing"),
    pytest.param(replace("pack.toml", "Asia/Jakarta", "Asia/Batavia"), r"pack\.toml: timezone.*Batavia", id="unknown zone"),
    pytest.param(replace("pack.toml", '"biro-pemerintahan"', '"biro"'), r"pack\.toml: fallback_agency.*'biro'", id="unknown fallback"),
    pytest.param(replace("pack.toml", r"'JK\d{10}'", "'JK('"), r"pack\.toml: old_number_pattern", id="pattern is no pattern"),
    pytest.param(replace("pack.toml", 'visibility = "private"', 'visibility = "secret"'), r"channels.*email.*visibility", id="unknown visibility"),
    pytest.param(replace("pack.toml", "links = true", "links = 1"), r"channels.*email.*links", id="number for true"),
    pytest.param(replace("pack.toml", 'name = "main"', 'title = "main"'), r"pack\.toml: .*sms_gateways.*name", id="gateway without a name"),
    pytest.param(replace("pack.toml", "[emergency]", "[emergency"), r"pack\.toml: ", id="not TOML"),
    pytest.param(replace("pack.toml", '["id", "en"]', '["id", "en", "jv"]'), r"jv", id="language without words"),
    pytest.param(replace("pack.toml", '["id", "en"]', "[]"), r"pack\.toml: languages", id="no language"),
    pytest.param(replace("texts.toml", "rank = 1, when", "wen = 1, when"), r"texts\.toml: received, part 1: lacks rank", id="part without rank"),
    pytest.param(replace("texts.toml", ', en = "Your report was received"', ""), r"texts\.toml: \[received\].*en", id="subject without English"),
    pytest.param(replace("texts.toml", "CEK {number}.", "CEK {nomor}."), r"texts\.toml: received, part 4: .*nomor", id="unknown value in a text"),
    pytest.param(replace("texts.toml", "CEK {number}.", "CEK {number."), r"texts\.toml: received, part 4", id="bracket not closed"),
]  # fmt: skip


@pytest.mark.parametrize(("mistake", "told"), FILES)
def test_a_mistake_in_a_file_is_told_with_its_place(pack: Path, mistake: Callable[[Path], None], told: str) -> None:
    """At the start, not when the first citizen needs the text; always as SetupError, never as a traceback."""
    mistake(pack)
    with pytest.raises(SetupError, match=told):
        load_pack(pack)


def test_a_pack_that_does_not_exist_is_named() -> None:
    """With the setting that names it."""
    with pytest.raises(SetupError, match=r"KANAL_PACK.*'bandung'"):
        find_pack("bandung")


def test_a_directory_is_taken_as_a_pack(pack: Path) -> None:
    """A city's own pack need not lie in the distribution."""
    assert load_pack(find_pack(str(pack))) == jakarta()


def test_the_pack_that_ships_is_whole() -> None:
    """Jakarta: prefix, languages, both channels, an agency for every area, and a way out for every report."""
    pack = jakarta()
    assert (pack.prefix, pack.languages, pack.fallback_agency) == ("JK", ("id", "en"), "biro-pemerintahan")
    assert set(pack.channels) >= {"email", "sms"}
    assert pack.sms_gateways == ("main",)
    assert len(pack.areas) >= 260
    assert (pack.reopen_days, pack.answer_days, pack.sms_join_minutes) == (14, 3, 10)
    assert all(area.agency in pack.agencies for area in pack.areas.values())
    assert (pack.routing[-1].category, pack.routing[-1].area) == ("*", "*")


def test_every_category_that_has_words_has_a_row_in_the_routing_table() -> None:
    """A category that only falls through to the last row was forgotten."""
    routed = {row.category for row in jakarta().routing}
    assert [code for code, category in jakarta().categories.items() if category.words and code not in routed] == []


def kinds_in_code() -> set[str]:
    """The kinds of replies that services name: string arguments of their `_reply` and what NOTICES holds."""
    kinds: set[str] = set()
    for path in (ROOT / "services").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "_reply":
                kinds |= {arg.value for arg in node.args if isinstance(arg, ast.Constant) and isinstance(arg.value, str)}
    return kinds - {""}


def test_every_kind_of_reply_has_words() -> None:
    """In all languages, with a subject: else a citizen would get no answer."""
    expected = {"received", "emergency", "appended", "already-received", "too-many", "status", "my-reports", "no-reports", "how-to-report", "status-unknown", "taken-up",
                "question", "done", "rejected", "merged", "reopened", "not-reopened", "passed-on"}  # fmt: skip
    assert {"received", "appended", "not-reopened"} <= kinds_in_code() <= set(jakarta().texts)
    assert expected == set(jakarta().texts)
    for text in jakarta().texts.values():
        assert all(text.subject[language].strip() for language in ("id", "en"))
        assert all(part.texts[language].strip() for part in text.parts for language in ("id", "en"))


def test_both_languages_say_the_same_values() -> None:
    """A value that stands in one language only would be lost on half of the citizens."""
    for text in jakarta().texts.values():
        for part in text.parts:
            assert re.findall(r"\{(\w+)\}", part.texts["id"]) == re.findall(r"\{(\w+)\}", part.texts["en"])


OPTIONS = ("emergency", "ask_place", "incomplete", "conversation", "closed", "done")


@pytest.mark.parametrize("language", ["id", "en"])
@pytest.mark.parametrize("kind", CHANNELS_OF_RECEIPTS)
def test_every_receipt_by_sms_is_one_message_with_the_number(kind: str, language: str) -> None:
    """Whatever it has to say besides: 160 characters of the GSM alphabet, and the number whole."""
    pack: Pack = jakarta()
    for count in range(len(OPTIONS) + 1):
        for chosen in itertools.combinations(OPTIONS, count):
            values = {"number": number()} | {option: "112" if option == "emergency" else "yes" for option in chosen}
            body = render(pack, pack.channels["sms"], kind, values, language, "https://kanal.example").body
            assert number() in body
            assert len(body) <= 160
            assert set(body) <= GSM_7
            assert ("112" in body) >= ("emergency" in chosen and kind != "already-received")


@pytest.mark.parametrize("language", ["id", "en"])
@pytest.mark.parametrize("kind", sorted(set(jakarta().texts) - {"my-reports", "no-reports", "how-to-report", "emergency", "too-many"}))
def test_every_answer_on_every_channel_holds_the_number(kind: str, language: str) -> None:
    """And the address of the page where links are allowed, nowhere else."""
    pack = jakarta()
    values = {"number": number(), "status": "in-progress", "agency": "bina-marga", "due": "2026-03-09T05:00:00+00:00",
              "note": "Di mana letaknya?", "other": number("2")}  # fmt: skip
    for channel in pack.channels.values():
        body = render(pack, channel, kind, values, language, "https://kanal.example").body
        assert number() in body
        assert (f"https://kanal.example/r/{number()}" in body) == channel.links
