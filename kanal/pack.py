"""A city as data: loading and checking a pack. A mistake is told with file, row and column. Not here: what rules do with it."""

import csv
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from string import Formatter
from typing import Any, NamedTuple, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from kanal.errors import SetupError

KELURAHAN = "@kelurahan"
"""A candidate in the routing table: the agency of the report's own area."""

ANY = "*"
REPLY_KINDS = frozenset(
    """received emergency appended already-received too-many status my-reports no-reports status-unknown taken-up question done
    rejected merged reopened not-reopened""".split()
)
"""The replies that Kanal has something to say with; a pack must have words for each."""

REPLY_VALUES = frozenset({"number", "link", "status", "agency", "category", "area", "note", "due", "other", "reports"})
"""What a text of a reply may name in braces."""

_T = TypeVar("_T")


class Category(NamedTuple):
    """A kind of problem, and the words that point to it with their weights."""

    code: str
    names: Mapping[str, str]
    """Name by language."""
    due_hours: int
    words: tuple[tuple[str, int], ...]


class Area(NamedTuple):
    """An administrative area (kelurahan)."""

    code: str
    name: str
    district: str
    city: str
    agency: str
    aliases: tuple[str, ...]


class Agency(NamedTuple):
    """Who answers."""

    code: str
    name: str
    parent: str


class RoutingRow(NamedTuple):
    """A row of the routing table: the first that fits decides, its agencies are asked in order."""

    row: str
    category: str
    area: str
    agencies: tuple[str, ...]


class Channel(NamedTuple):
    """What a channel allows."""

    links: bool
    max_characters: int
    """0 = no limit."""
    visibility: str
    labels: Mapping[str, str]


class TextPart(NamedTuple):
    """One sentence of a reply. Where room is short the highest ranks go first; a part with an empty value is left out."""

    rank: int
    texts: Mapping[str, str]
    when: str = ""
    """Only where this value is given."""


class Text(NamedTuple):
    """The words of one kind of reply."""

    subject: Mapping[str, str]
    parts: tuple[TextPart, ...]


class Pack(NamedTuple):
    """Everything that makes Kanal this city's."""

    code: str
    name: str
    prefix: str
    zone: ZoneInfo
    languages: tuple[str, ...]
    fallback_agency: str
    old_number: re.Pattern[str]
    due_hours: int
    sms_join_minutes: int
    conversation_minutes: int
    repeat_minutes: int
    messages_per_hour: int
    """What one sender says beyond that within an hour is not taken up, but for danger; he is told once."""
    reopen_days: int
    answer_days: int
    ambiguous_areas: tuple[str, ...]
    emergency_number: str
    emergency_words: tuple[str, ...]
    channels: Mapping[str, Channel]
    sms_gateways: tuple[str, ...]
    categories: Mapping[str, Category]
    areas: Mapping[str, Area]
    agencies: Mapping[str, Agency]
    routing: tuple[RoutingRow, ...]
    texts: Mapping[str, Text]


def find_pack(name: str) -> Path:
    """The directory of a pack that ships with Kanal, or `name` itself when it is a directory. *Raises:* SetupError."""
    here = Path(__file__).resolve().parent.parent
    for candidate in (Path(name), here / "packs" / name, here / "kanal_packs" / name):
        if (candidate / "pack.toml").is_file():
            return candidate
    raise SetupError(f"KANAL_PACK: there is no pack {name!r}")


def load_pack(directory: Path) -> Pack:
    """*Raises:* SetupError that names file, row and column of the first mistake."""
    main = _Toml(directory / "pack.toml")
    agencies = {agency.code: agency for agency in _agencies(directory / "agencies.csv")}
    areas = {area.code: area for area in _areas(directory / "areas.csv", agencies)}
    languages = tuple(main.get("languages", list))
    if not languages or not all(isinstance(language, str) for language in languages):
        raise SetupError("pack.toml: languages must name at least one language")
    categories = {each.code: each for each in _categories(directory / "categories.csv", main.get("due_hours", int))}
    fallback = main.get("fallback_agency", str)
    if fallback not in agencies:
        raise SetupError(f"pack.toml: fallback_agency: there is no agency {fallback!r} in agencies.csv")
    return Pack(
        code=main.get("code", str),
        name=main.get("name", str),
        prefix=main.matching("prefix", r"[A-Z]{2}"),
        zone=_zone(main.get("timezone", str)),
        languages=languages,
        fallback_agency=fallback,
        old_number=_pattern(main.get("old_number_pattern", str)),
        due_hours=main.get("due_hours", int),
        sms_join_minutes=main.get("sms_join_minutes", int),
        conversation_minutes=main.get("conversation_minutes", int),
        repeat_minutes=main.get("repeat_minutes", int),
        messages_per_hour=main.get("messages_per_hour", int),
        reopen_days=main.get("reopen_days", int),
        answer_days=main.get("answer_days", int),
        ambiguous_areas=tuple(main.get("ambiguous_areas", list)),
        emergency_number=main.table("emergency").get("number", str),
        emergency_words=tuple(main.table("emergency").get("words", list)),
        channels={name: _channel(main.table("channels").table(name), languages) for name in main.get("channels", dict)},
        sms_gateways=tuple(_gateway(gateway) for gateway in main.get("sms_gateways", list)),
        categories=categories,
        areas=areas,
        agencies=agencies,
        routing=tuple(_routing(directory / "routing.csv", categories, areas, agencies)),
        texts=_texts(_Toml(directory / "texts.toml"), languages),
    )


def _agencies(path: Path) -> Iterator[Agency]:
    rows = list(_rows(path, ("code", "name", "parent", "kind")))
    codes = {row["code"] for _, row in rows}
    for line, row in rows:
        if row["parent"] and row["parent"] not in codes:
            raise _mistake(path, line, "parent", f"there is no agency {row['parent']!r}")
        yield Agency(_code(path, line, row), _filled(path, line, row, "name"), row["parent"])


def _areas(path: Path, agencies: Mapping[str, Agency]) -> Iterator[Area]:
    for line, row in _rows(path, ("code", "name", "district", "city", "agency", "aliases")):
        if row["agency"] not in agencies:
            raise _mistake(path, line, "agency", f"there is no agency {row['agency']!r}")
        name = _filled(path, line, row, "name")
        yield Area(_filled(path, line, row, "code"), name, row["district"], row["city"], row["agency"], _list(row["aliases"]))


def _categories(path: Path, due_hours: int) -> Iterator[Category]:
    for line, row in _rows(path, ("code", "name_id", "name_en", "due_hours", "words")):
        if row["due_hours"] and not _is_whole(row["due_hours"]):
            raise _mistake(path, line, "due_hours", "is not a whole number of hours")
        words = tuple(_weighted(path, line, word) for word in _list(row["words"]))
        names = {"id": _filled(path, line, row, "name_id"), "en": _filled(path, line, row, "name_en")}
        yield Category(_code(path, line, row), names, int(row["due_hours"] or due_hours), words)


def _routing(path: Path, categories: Mapping[str, Any], areas: Mapping[str, Area], agencies: Mapping[str, Any]) -> Iterator[RoutingRow]:
    cities = {area.city for area in areas.values()}
    last = None
    for line, row in _rows(path, ("row", "category", "area", "agencies", "note")):
        if row["category"] not in categories and row["category"] != ANY:
            raise _mistake(path, line, "category", f"there is no category {row['category']!r}")
        if row["area"] not in areas and row["area"] not in cities and row["area"] != ANY:
            raise _mistake(path, line, "area", f"there is no area or city {row['area']!r}")
        candidates = _list(_filled(path, line, row, "agencies"))
        for agency in candidates:
            if agency not in agencies and agency != KELURAHAN:
                raise _mistake(path, line, "agencies", f"there is no agency {agency!r}")
        last = RoutingRow(_filled(path, line, row, "row"), row["category"], row["area"], candidates)
        yield last
    if last is None or (last.category, last.area) != (ANY, ANY):
        raise SetupError(f"{path.name}: the last row must be for any category and any area (*,*)")


def _texts(toml: "_Toml", languages: Sequence[str]) -> dict[str, Text]:
    texts = {}
    for kind in toml.content:
        table = toml.table(kind)
        parts = []
        for index, part in enumerate(table.get("parts", list), start=1):
            missing = {"rank", *languages} - set(part)
            if missing:
                raise SetupError(f"{toml.where}: {kind}, part {index}: lacks {', '.join(sorted(missing))}")
            for language in languages:
                _check_values(part[language], f"{toml.where}: {kind}, part {index}")
            parts.append(TextPart(part["rank"], {language: part[language] for language in languages}, part.get("when", "")))
        subject = {language: table.table("subject").get(language, str) for language in languages}
        texts[kind] = Text(subject, tuple(parts))
    if missing_kinds := REPLY_KINDS - set(texts):
        raise SetupError(f"{toml.where}: lacks the texts of {', '.join(sorted(missing_kinds))}")
    return texts


def _check_values(text: str, where: str) -> None:
    """*Raises:* SetupError for a brace that is not closed and for a value that no reply has."""
    try:
        names = {name for _, name, _, _ in Formatter().parse(text) if name is not None}
    except ValueError as error:
        raise SetupError(f"{where}: {error}") from None
    if unknown := names - REPLY_VALUES:
        raise SetupError(f"{where}: there is no value {', '.join(sorted(unknown))}; there are {', '.join(sorted(REPLY_VALUES))}")


def _channel(toml: "_Toml", languages: Sequence[str]) -> Channel:
    visibility = toml.matching("visibility", "public|private")
    labels = {language: toml.get(f"label_{language}", str) for language in languages}
    return Channel(toml.get("links", bool), toml.get("max_characters", int), visibility, labels)


class _Toml:
    """A TOML table that knows its place for error messages."""

    def __init__(self, path: Path, content: Mapping[str, Any] | None = None, where: str = "") -> None:
        self.where = where or path.name
        self._path = path
        try:
            self.content = content if content is not None else tomllib.loads(path.read_text("utf-8"))
        except OSError:
            raise SetupError(f"{path.name}: is missing in the pack") from None
        except UnicodeDecodeError:
            raise SetupError(f"{path.name}: is not UTF-8") from None
        except tomllib.TOMLDecodeError as error:
            raise SetupError(f"{path.name}: {error}") from None

    def get(self, name: str, kind: type[_T]) -> _T:
        value = self.content.get(name)
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise SetupError(f"{self.where}: {name} is missing or is no {kind.__name__}")
        return value

    def matching(self, name: str, pattern: str) -> str:
        value = self.get(name, str)
        if not re.fullmatch(pattern, value):
            raise SetupError(f"{self.where}: {name} must match {pattern}")
        return value

    def table(self, name: str) -> "_Toml":
        return _Toml(self._path, self.get(name, dict), f"{self.where}: [{name}]")


def _pattern(text: str) -> re.Pattern[str]:
    try:
        return re.compile(rf"\b{text}\b", re.IGNORECASE)
    except re.error as error:
        raise SetupError(f"pack.toml: old_number_pattern: {error}") from None


def _gateway(gateway: Any) -> str:
    name = gateway.get("name") if isinstance(gateway, dict) else None
    if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9-]*", name):
        raise SetupError("pack.toml: each of sms_gateways needs a name of lower-case letters, digits and hyphens")
    return name


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise SetupError(f"pack.toml: timezone: there is no zone {name!r}") from None


def _rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows with their line numbers; the header must be exactly `columns`, and the first names the row once."""
    seen: set[str] = set()
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            if tuple(reader.fieldnames or ()) != tuple(columns):
                raise SetupError(f"{path.name}, row 1: the columns must be {', '.join(columns)}")
            for row in reader:
                if None in row or None in row.values():
                    raise SetupError(f"{path.name}, row {reader.line_num}: does not have {len(columns)} columns")
                cells = {name: value.strip() for name, value in row.items()}
                if cells[columns[0]] in seen:
                    raise _mistake(path, reader.line_num, columns[0], f"{cells[columns[0]]!r} stands twice")
                seen.add(cells[columns[0]])
                yield reader.line_num, cells
    except UnicodeDecodeError:
        raise SetupError(f"{path.name}: is not UTF-8") from None
    except OSError:
        raise SetupError(f"{path.name}: is missing in the pack") from None


def _weighted(path: Path, line: int, word: str) -> tuple[str, int]:
    text, _, weight = word.partition("*")
    if weight and not _is_whole(weight):
        raise _mistake(path, line, "words", f"the weight of {text!r} is not a whole number")
    return text.strip().casefold(), int(weight or 1)


def _is_whole(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _code(path: Path, line: int, row: Mapping[str, str]) -> str:
    if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", row["code"]):
        raise _mistake(path, line, "code", "must be lower-case words joined by hyphens")
    return row["code"]


def _filled(path: Path, line: int, row: Mapping[str, str], column: str) -> str:
    if not row[column]:
        raise _mistake(path, line, column, "is empty")
    return row[column]


def _list(cell: str) -> tuple[str, ...]:
    return tuple(item.strip() for item in cell.split(";") if item.strip())


def _mistake(path: Path, line: int, column: str, what: str) -> SetupError:
    return SetupError(f"{path.name}, row {line}, column {column}: {what}")
