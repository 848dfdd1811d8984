"""Answers of the application that no route gives: nothing there, another method, a bug."""

import pytest
from fastapi import APIRouter

from kanal.web import application
from tests.services.tracker.story import Http


@pytest.fixture
def http() -> Http:
    router = APIRouter()

    @router.get("/broken")
    def broken() -> None:
        raise RuntimeError("0812 0000 0001")

    return Http(application("web", [router], lambda: True, lambda: True))


@pytest.mark.parametrize(
    ("method", "path", "status", "error"),
    [("GET", "/nothing", 404, "not-found"), ("POST", "/broken", 405, "method"), ("GET", "/broken", 500, "internal")],
)
def test_every_error_has_a_rule_and_the_security_headers(http: Http, method: str, path: str, status: int, error: str) -> None:
    """A program reads the rule; what went wrong inside is not told."""
    answer = http.get(path) if method == "GET" else http.post(path)
    assert (answer.status_code, answer.json()["error"]) == (status, error)
    assert answer.headers["X-Frame-Options"] == "DENY"
    assert (answer.headers.get("Allow") == "GET") is (status == 405)
    assert "0812" not in answer.text


def test_a_page_that_is_not_there_says_so_in_words(http: Http) -> None:
    """A citizen with a mistyped address gets no JSON."""
    answer = http.get("/nothing", headers={"Accept": "text/html,*/*"})
    assert answer.status_code == 404
    assert "Halaman ini tidak ada" in answer.text
    assert 'lang="en"' in answer.text
