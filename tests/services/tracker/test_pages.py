"""The public pages: both languages, no script, nothing unescaped, and help with a mistyped number."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from httpx import Response
from kanal_tracker.pages import Pages
from kanal_tracker.words import ROLES, WORDS, explain

from kanal.errors import InvalidInput
from kanal.numbers import read_number
from kanal.status import LABELS
from kanal.testing import jakarta, later, number, registered
from kanal.web import application

from .story import City, Http, appended, belum, public, requested, routed

XSS = "\"><script>alert(1)</script><b x='"


class Visitor:
    """A citizen's browser."""

    def __init__(self, directory: Path) -> None:
        self.city = City(directory)
        app = application("tracker", [Pages(self.city.database, jakarta()).router], lambda: True, lambda: True)
        self.http = Http(app)

    def look(self, name: str = "1", **query: str) -> Response:
        return self.http.get(f"/r/{number(name)}", params=query)


@pytest.fixture
def visitor(tmp_path: Path) -> Iterator[Visitor]:
    visitor = Visitor(tmp_path)
    yield visitor
    visitor.city.close()


class Tags(HTMLParser):
    """What a browser would see: tags with their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def values(self, tag: str, attribute: str) -> list[str | None]:
        return [attributes.get(attribute) for name, attributes in self.tags if name == tag]


def is_plain(html: str) -> None:
    """No script of any kind, nothing loaded from elsewhere."""
    page = Tags(html)
    for tag, attributes in page.tags:
        assert tag not in ("script", "iframe", "object", "embed", "img", "b")
        assert not [name for name in attributes if name.startswith("on")]
        assert not str(attributes.get("href") or "").lower().startswith(("javascript:", "http", "//"))
    assert page.values("html", "lang") in (["id"], ["en"])
    assert [value for value in page.values("meta", "content") if value and "width=device-width" in value]


def test_the_start_page_asks_for_a_number(visitor: Visitor) -> None:
    """A form that works without script, and the emergency number."""
    response = visitor.http.get("/")
    assert response.status_code == 200
    is_plain(response.text)
    page = Tags(response.text)
    assert ("form", {"action": "/", "method": "get"}) in page.tags
    assert "number" in page.values("input", "name")
    assert "112" in response.text


@pytest.mark.parametrize("language", ["id", "en"])
@pytest.mark.parametrize("path", ["/", f"/r/{number('1')}"], ids=["start", "report"])
def test_pages_come_in_both_languages_and_lead_to_the_other(visitor: Visitor, path: str, language: str) -> None:
    """The language goes along with the form and every link."""
    visitor.city.say(registered(), routed())
    visitor.city.run()
    html = visitor.http.get(path, params={"lang": language}).text
    is_plain(html)
    other = "en" if language == "id" else "id"
    assert f'<html lang="{language}">' in html
    assert f"{path}?lang={other}" in Tags(html).values("a", "href")
    assert ("Belum punya nomor" in html or "Nomor laporan" in html) == (language == "id")


def test_an_unknown_language_is_indonesian(visitor: Visitor) -> None:
    """And not echoed."""
    html = visitor.http.get("/", params={"lang": XSS}).text
    assert '<html lang="id">' in html
    assert "alert(1)" not in html


def test_a_typed_number_leads_to_its_page(visitor: Visitor) -> None:
    """In its canonical form, in the language, however it was typed; also an unknown one."""
    response = visitor.http.get("/", params={"number": f" {number('1').lower().replace('-', ' ')} ", "lang": "en"})
    assert (response.status_code, response.headers["location"]) == (303, f"/r/{number('1')}?lang=en")


def test_an_empty_number_is_the_start_page(visitor: Visitor) -> None:
    """Not an error."""
    response = visitor.http.get("/", params={"number": "  "})
    assert response.status_code == 200
    assert 'role="alert"' not in response.text


MISTYPED = [
    pytest.param("JK-7F3Q-9K2M-4XPO", "Huruf atau angka ke-12 (O)", "Symbol 12 (O)", id="letter O"),
    pytest.param("JK-7F3Q-9K2M-4XP'", "Huruf atau angka ke-12 (&#39;)", "Symbol 12 (&#39;)", id="apostrophe"),
    pytest.param("7F3Q-9K2M-4XP", "yang Anda ketik 11", "you typed 11", id="too short without prefix"),
    pytest.param("JK-7F3Q-9K2M-4XP", "yang Anda ketik 11", "you typed 11", id="too short with prefix"),
    pytest.param("JK-7F3Q-9K2M-4XPTT", "yang Anda ketik 13", "you typed 13", id="too long with prefix"),
    pytest.param(number("1")[:-1] + ("2" if number("1")[-1] != "2" else "3"), "salah ketik", "mistyped", id="wrong check symbol"),
]


@pytest.mark.parametrize(("typed", "said_id", "said_en"), MISTYPED)
def test_a_mistyped_number_is_explained(visitor: Visitor, typed: str, said_id: str, said_en: str) -> None:
    """In words, on the form, with what was typed still there; by the form and by an address."""
    for language, said in (("id", said_id), ("en", said_en)):
        for response in (
            visitor.http.get("/", params={"number": typed, "lang": language}),
            visitor.http.get(f"/r/{typed}", params={"lang": language}),
        ):
            assert response.status_code == 400
            assert said in response.text
            assert 'role="alert"' in response.text
            assert typed in Tags(response.text).values("input", "value")
            is_plain(response.text)


@pytest.mark.parametrize(
    "typed", [XSS, "<img src=x onerror=alert(1)>", "javascript:alert(1)", "{{ 7*7 }}", "{% raw %}", "' onfocus='alert(1)"]
)
def test_what_was_typed_is_shown_escaped(visitor: Visitor, typed: str) -> None:
    """Nothing that was typed becomes a tag, an attribute or a template."""
    for response in (visitor.http.get("/", params={"number": typed}), visitor.http.get("/r/" + typed.replace("/", "%2F"))):
        assert response.status_code in (400, 404)
        assert "<script" not in response.text
        assert ">49<" not in response.text
        if response.status_code == 400:
            is_plain(response.text)


def test_every_rule_of_a_number_has_words() -> None:
    """Whatever somebody types gets the explanation of its own rule, also for quotes and backslashes."""
    for symbol in "'\"\\O0é\x00<":
        with pytest.raises(InvalidInput) as error:
            read_number("7F3Q9K2M4XP" + symbol, "JK")
        assert "-12 " in explain(error.value.rule, "id", "JK")
        assert "Symbol 12 " in explain(error.value.rule, "en", "JK")


def test_an_unknown_number_is_404_with_what_to_do(visitor: Visitor) -> None:
    """If it has just been received, a few minutes later."""
    response = visitor.look("77", lang="en")
    assert response.status_code == 404
    assert f"The number {number('77')} is not known yet" in response.text
    assert "few minutes" in response.text
    is_plain(response.text)


def test_a_public_report_shows_its_text_escaped(visitor: Visitor) -> None:
    """Whatever the citizen or an officer wrote."""
    visitor.city.say(public(text=f"Lampu {XSS} mati"), requested("ask", note=f"di mana {XSS}"))
    visitor.city.run()
    html = visitor.look().text
    is_plain(html)
    assert "&lt;script&gt;" in html
    assert html.count("alert(1)") == 2
    assert "Cideng" in html


def test_a_private_report_shows_its_state_only(visitor: Visitor) -> None:
    """No text, no place, no note."""
    visitor.city.say(registered(text="RAHASIA"), routed(), requested("ask", note="RAHASIA?"), appended(text="RAHASIA!"))
    visitor.city.run()
    html = visitor.look().text
    assert "RAHASIA" not in html
    assert "Cideng" not in html
    assert "hanya untuk pelapor" in html
    assert "Dinas Bina Marga" in html


def test_the_page_tells_the_story_newest_first(visitor: Visitor) -> None:
    """With what happened, who and when in Jakarta's time."""
    visitor.city.say(registered(), routed(), requested("accept", requested_at=later(60)))
    visitor.city.run()
    html = visitor.look().text
    assert html.index("Mulai dikerjakan") < html.index("Diteruskan ke dinas") < html.index("Laporan diterima")
    assert "2 Mar 2026, 13.00 WIB" in html
    assert "Perkiraan selesai" in html


def test_a_merged_report_leads_to_the_other(visitor: Visitor) -> None:
    """By a link, in the same language."""
    visitor.city.say(registered("1"), registered("2"), requested("merge"))
    visitor.city.run()
    assert f"/r/{number('2')}?lang=en" in Tags(visitor.look(lang="en").text).values("a", "href")


STORIES = {
    "waiting": [], "coordinating": ["refuse"], "dispatched": ["delegate"], "in-progress": ["accept"],
    "awaiting-validation": ["accept", "finish"], "follow-up-rejected": ["accept", "finish", "return"],
    "done": ["accept", "finish", "validate"], "unclear": ["ask"], "rejected": ["reject"], "merged": ["merge"],
}  # fmt: skip


@pytest.mark.parametrize("status", STORIES)
def test_every_status_has_a_page_in_both_languages(visitor: Visitor, status: str) -> None:
    """With its word and what it means."""
    visitor.city.say(registered("2"), registered(), routed(), *(requested(action) for action in STORIES[status]))
    visitor.city.run()
    for language in ("id", "en"):
        response = visitor.look(lang=language)
        assert response.status_code == 200
        assert f">{LABELS[status][language]}</span>" in response.text
        assert WORDS[language][f"status:{status}"] in response.text
        is_plain(response.text)


def test_a_reopened_report_shows_the_way_from_the_start(visitor: Visitor) -> None:
    """Waiting again, with the reopening in its story."""
    visitor.city.say(registered(), requested("accept"), requested("finish"), requested("validate"), belum())
    visitor.city.run()
    assert "Dibuka lagi oleh pelapor" in visitor.look().text


def test_pages_are_not_kept_by_anybody_on_the_way(visitor: Visitor) -> None:
    """Nor found by search engines, nor framed; no script could run even if one got in."""
    for response in (visitor.http.get("/"), visitor.look("77")):
        assert response.headers["Cache-Control"] == "no-store"
        assert "noindex" in response.headers["X-Robots-Tag"]
        policy = response.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "script-src" not in policy
        assert response.headers["X-Frame-Options"] == "DENY"


def test_both_languages_have_the_same_words() -> None:
    """Statuses, actions and roles included; placeholders too."""
    assert WORDS["id"].keys() == WORDS["en"].keys()
    assert ROLES["id"].keys() == ROLES["en"].keys()
    for name, words in WORDS["id"].items():
        assert set(re.findall(r"\{\w+\}", words)) == set(re.findall(r"\{\w+\}", WORDS["en"][name]))
    assert {f"status:{status}" for status in LABELS} <= WORDS["id"].keys()
