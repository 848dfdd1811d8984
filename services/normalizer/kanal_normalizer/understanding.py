"""What a text is about and where: category, area and emergency by the pack's words. Pure; every answer comes with its reason."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

from kanal.pack import Pack
from kanal_normalizer.cleaning import words_of

OTHER = "other"
"""The category when no word points anywhere."""

_AREA_TITLES = ("kelurahan", "kel", "keluarahan", "kelurahaan")
_NOT_AN_AREA = (
    "kecamatan",
    "kec",
    "jalan",
    "jl",
    "jln",
    "jend",
    "raya",
    "gang",
    "gg",
    "stasiun",
    "pasar",
    "rs",
    "rumah",
    "polsek",
    "puskesmas",
)
"""In front of a name these say that something else is meant: a street, a station, the district of the same name."""

_DENIED = frozenset("tidak bukan tak ga gak nggak no not".split())
"""In front of a danger: "tidak ada api"."""

_NO_DANGER = frozenset({"macet"})
"""Behind one: "orang terjebak macet"."""

_T = TypeVar("_T")


class Guess(NamedTuple):
    """A code of the pack and why; an empty code = not recognised."""

    code: str
    reason: str


class Hit(NamedTuple, Generic[_T]):
    """A phrase of the pack found in the text."""

    value: _T
    start: int
    length: int


class PhraseTable(Generic[_T]):
    """Finds phrases as whole words: one look-up per word of the text, however many phrases there are."""

    def __init__(self, phrases: Iterable[tuple[str, _T]]) -> None:
        self._by_first: dict[str, list[tuple[list[str], _T]]] = {}
        for phrase, value in phrases:
            words = words_of(phrase)
            if words:
                self._by_first.setdefault(words[0], []).append((words, value))

    def find(self, words: Sequence[str]) -> list[Hit[_T]]:
        """Every occurrence, in the order of the text."""
        hits = []
        for start, word in enumerate(words):
            for phrase, value in self._by_first.get(word, ()):
                if words[start : start + len(phrase)] == phrase:
                    hits.append(Hit(value, start, len(phrase)))
        return hits


class Understanding:
    """The pack's words, made ready once."""

    def __init__(self, pack: Pack) -> None:
        categories = list(pack.categories.values())
        self._rank: Mapping[str, int] = {category.code: row for row, category in enumerate(categories)}
        self._categories = PhraseTable((word, (category.code, word, weight)) for category in categories for word, weight in category.words)
        self._areas = PhraseTable((name, area.code) for area in pack.areas.values() for name in (area.name, *area.aliases))
        self._area_names = {area.code: area.name for area in pack.areas.values()}
        ambiguous = {" ".join(words_of(name)) for name in pack.ambiguous_areas}
        self._ambiguous = ambiguous
        self._emergencies = PhraseTable((word, word) for word in pack.emergency_words)

    def category(self, words: Sequence[str]) -> Guess:
        """The category with the highest sum of weights, each word counted once; ties by the order of the pack's rows."""
        found = {hit.value for hit in self._categories.find(words)}
        scores: dict[str, int] = {}
        for code, _, weight in found:
            scores[code] = scores.get(code, 0) + weight
        if not scores:
            return Guess(OTHER, "no word of any category")
        best = min(scores, key=lambda code: (-scores[code], self._rank[code]))
        words_found = sorted(((weight, word) for code, word, weight in found if code == best), reverse=True)
        return Guess(best, f"{', '.join(word for _, word in words_found[:5])} = {scores[best]}")

    def area(self, words: Sequence[str]) -> Guess:
        """The kelurahan named: first one that is called so, then the longest name, then the first in the text."""
        best: tuple[tuple[bool, int, int], str] | None = None
        for code, start, length in self._areas.find(words):
            before = words[start - 1] if start else ""
            titled = before in _AREA_TITLES
            name = " ".join(words[start : start + length])
            if not titled and (before in _NOT_AN_AREA or name in self._ambiguous):
                continue
            rank = (titled, length, -start)
            if best is None or rank > best[0]:
                best = (rank, code)
        if best is None:
            return Guess("", "no kelurahan named")
        return Guess(best[1], f"{'kelurahan ' if best[0][0] else ''}{self._area_names[best[1]]} in the text")

    def emergency(self, words: Sequence[str]) -> str:
        """The first word or phrase that means danger to life now; empty when there is none."""
        for hit in self._emergencies.find(words):
            before, behind = words[: hit.start][-1:], words[hit.start + hit.length :][:1]
            if _DENIED.isdisjoint(before) and _NO_DANGER.isdisjoint(behind):
                return hit.value
        return ""
