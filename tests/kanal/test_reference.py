"""The generated reference is up to date, complete by another way of counting, and readable."""

import importlib
import pkgutil
import re
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pytest
from kanal_ingest_sms.settings import SmsGatewaySettings, gateway_settings
from kanal_tracker.machine import ACTIONS, Refusal, Report, Rules, move
from prometheus_client import REGISTRY
from pydantic import FilePath

import kanal
from kanal import errors
from kanal.errors import KanalError
from kanal.events import EVENTS, Attachment, Part, UpdateRequested
from kanal.settings import EnvironmentSettings, load_settings
from kanal.status import LABELS
from kanal.topics import TOPICS

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference"
PAGES = sorted(REFERENCE.glob("*.md"))


def import_everything() -> None:
    """All production modules, so that whatever they register (metrics, errors, settings) is known."""
    packages = [kanal, *(importlib.import_module(folder.name) for folder in sorted((ROOT / "services").glob("*/kanal_*")))]
    for package in packages:
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not found.name.endswith("__main__"):
                importlib.import_module(found.name)


with warnings.catch_warnings():  # kafka-python 3.0.12 reads its schemas by a call that Python 3.11 is going to drop
    warnings.filterwarnings("ignore", r"(read|open)_text is deprecated", DeprecationWarning)
    import_everything()


def below(kind: type[Any]) -> Iterator[type[Any]]:
    for each in kind.__subclasses__():
        yield each
        yield from below(each)


def in_production(kind: type[Any]) -> bool:
    return kind.__module__.startswith("kanal")


def page(name: str) -> str:
    return (REFERENCE / f"{name}.md").read_text(encoding="utf-8")


def rows(text: str) -> list[list[str]]:
    """The cells of every table line, without the lines below headings."""
    lines = [re.split(r"(?<!\\)\|", line)[1:-1] for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line] for line in lines if set("".join(line)) - set("- ")]


def row(text: str, first: str) -> list[str]:
    """The one row that begins with `first` as code."""
    found = [each for each in rows(text) if each[0] == f"`{first}`"]
    assert len(found) == 1, f"{first} has {len(found)} rows"
    return found[0]


def section(text: str, heading: str) -> str:
    return re.split(rf"^{re.escape(heading)}$", text, flags=re.MULTILINE)[1].split("\n#")[0]


# Up to date.


def generate(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(ROOT / "docs" / "generate.py"), *arguments], capture_output=True, text=True, check=False)


def test_generated_pages_are_up_to_date() -> None:
    """Whoever reads the reference reads what the code does."""
    checked = generate("--check")
    assert checked.returncode == 0, f"run `python docs/generate.py`:\n{checked.stderr}"


def test_check_names_an_outdated_page_and_writes_nothing(tmp_path: Path) -> None:
    """`--check` fails loudly, leaves the page as it is, and does not mind pages that a person wrote."""
    for name in ("docs", "schemas"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "generate.py").write_bytes((ROOT / name / "generate.py").read_bytes())
    (tmp_path / "services").symlink_to(ROOT / "services")
    pages = tmp_path / "docs" / "reference"
    pages.mkdir()
    for path in PAGES:
        (pages / path.name).write_bytes(path.read_bytes())
    (pages / "metrics.md").write_text("old")
    checked = subprocess.run(
        [sys.executable, str(tmp_path / "docs" / "generate.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 1, checked.stderr
    assert re.findall(r"^(\S+):", checked.stderr, re.MULTILINE) == ["docs/reference/metrics.md"]
    assert (pages / "metrics.md").read_text() == "old"


# Complete.


@pytest.mark.parametrize("name", EVENTS)
def test_event_is_in_the_reference_with_all_its_fields(name: str) -> None:
    """Each event has a section with its topic, its type and one row a field that says whether it is required."""
    text = section(page("events"), f"## {name}")
    kind = EVENTS[name]
    assert f"`kanal.{name}.v1`" in text
    assert all(f"`{topic.name}`" in text for topic in TOPICS.values() if name in topic.events)
    for field in kind.__struct_fields__:
        optional = field in kind.__struct_fields__[len(kind.__struct_fields__) - len(kind.__struct_defaults__) :]
        described = row(text, field)
        assert described[1] or optional
    assert len(rows(text)) == len(kind.__struct_fields__) + 1


@pytest.mark.parametrize("kind", [Part, Attachment])
def test_structure_inside_events_is_in_the_reference(kind: type[Any]) -> None:
    """What events are made of is described like the events."""
    text = section(page("events"), f"### {kind.__name__}")
    assert [each[0] for each in rows(text)[1:]] == [f"`{field}`" for field in kind.__struct_fields__]


@pytest.mark.parametrize("name", TOPICS)
def test_topic_is_in_the_reference(name: str) -> None:
    """Each topic has a row with key, events, writers, readers and how long it is kept."""
    topic, described = TOPICS[name], row(page("topics"), name)
    assert [described[1], described[2], described[4], described[5]] == [topic.key, topic.says, topic.written_by, topic.read_by]
    assert all(f"[{event}](events.md#{event})" in described[3] for event in topic.events)
    assert ("compacted" if topic.compacted else f"{topic.kept_days} days" if topic.kept_days else "for ever") in described[6]


SETTINGS = {
    f"{kind.model_config.get('env_prefix', '')}{name}".upper(): (kind, name)
    for kind in below(EnvironmentSettings)
    if in_production(kind) and kind.__name__ != "NamedGatewaySettings"
    for name in kind.model_fields
    if name in vars(kind).get("__annotations__", {})
}


@pytest.mark.parametrize("variable", SETTINGS)
def test_setting_is_in_the_reference(variable: str) -> None:
    """Each field of each settings class has a row with its default and its description."""
    kind, name = SETTINGS[variable]
    field = kind.model_fields[name]
    _, default, meaning = row(page("settings"), variable)
    assert field.description, f"{variable} has no description"
    assert meaning.replace("\\", "") == field.description
    assert default in {f"`{field.default}`", "empty", "none"}
    assert (default == "empty") == (field.default == "")


def test_every_settings_class_is_counted() -> None:
    """The count above is not empty: it has the names that others build on."""
    fixed = {"DATA", "HTTP_PORT", "SMTP_PORT", "SMTP_RELAY", "JOURNAL", "DATABASE_URL", "STAFF_TOKEN", "EMAIL_ADDRESS"}
    assert {f"KANAL_{name}" for name in fixed} | {"KANAL_SMS_MAIN_SECRET", "KANAL_SMS_MAIN_SEND_URL"} <= SETTINGS.keys()


VALUES: Mapping[Any, str] = {
    str: "https://value@warga.example", Path: "/somewhere", FilePath: __file__, dict[str, str]: '{"sasl.mechanism": "PLAIN"}'
}  # fmt: skip


def another_value(field: Any) -> str:
    """One that the field takes and that is not its default."""
    if field.annotation is int:
        return str(field.default + 1)  # some have a lowest value
    kinds = [field.annotation, *get_args(field.annotation)]
    return next((VALUES[each] for each in kinds if each in VALUES), str(kinds[-1]))


@pytest.mark.parametrize("variable", SETTINGS)
def test_setting_works_from_a_file(variable: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the reference says, each variable also works with _FILE behind its name and means the same as in the environment."""
    kind, name = SETTINGS[variable]
    written = another_value(kind.model_fields[name])
    (tmp_path / "value").write_text(written + "\n")
    monkeypatch.setenv(variable, written)
    from_environment = getattr(load_settings(kind), name)
    monkeypatch.delenv(variable)
    monkeypatch.setenv(f"{variable}_FILE", str(tmp_path / "value"))
    assert getattr(load_settings(kind), name) == from_environment != kind.model_fields[name].default


def test_variable_goes_before_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the reference says, the variable itself goes first."""
    (tmp_path / "value").write_text("from-file")
    monkeypatch.setenv("KANAL_SMS_MAIN_SECRET_FILE", str(tmp_path / "value"))
    assert load_settings(SmsGatewaySettings).secret == "from-file"
    monkeypatch.setenv("KANAL_SMS_MAIN_SECRET", "from-variable")
    assert load_settings(SmsGatewaySettings).secret == "from-variable"


def test_every_variable_named_in_the_code_is_in_the_reference() -> None:
    """No part of Kanal reads a variable that an operator cannot look up; KANAL_SMS_ goes on with the gateway's name."""
    code = "\n".join(path.read_text(encoding="utf-8") for folder in ("kanal", "services") for path in (ROOT / folder).rglob("*.py"))
    named = {name.removesuffix("_FILE") for name in re.findall(r"\bKANAL_[A-Z_]*[A-Z]\b", code)} - {"KANAL_X", "KANAL_SMS"}
    documented = set(re.findall(r"`(KANAL_[A-Z_]+)`", page("settings")))
    assert {"KANAL_FAIL_POINT", "KANAL_STAFF_TOKEN"} <= named
    assert named <= documented


def test_every_fail_point_is_in_the_reference() -> None:
    """Who writes a fault test finds every point at which the process can be killed."""
    code = "\n".join(path.read_text(encoding="utf-8") for folder in ("kanal", "services") for path in (ROOT / folder).rglob("*.py"))
    points = set(re.findall(r'fail_point(?:\(|, )f"\{[\w.]+\}\.([\w-]+)"', code))
    assert len(points) >= 6
    assert {each[0].strip("`").partition(".")[2] for each in rows(section(page("settings"), "## For tests only"))[1:]} == points


METRICS = sorted(
    {
        (metric.name, metric.type, tuple(collector._labelnames))  # type: ignore[attr-defined]
        for collector in REGISTRY._collector_to_names
        for metric in collector.collect()
        if metric.name.startswith("kanal_")
    }
)


@pytest.mark.parametrize(("name", "kind", "labels"), METRICS, ids=[name for name, *_ in METRICS])
def test_metric_is_in_the_reference(name: str, kind: str, labels: tuple[str, ...]) -> None:
    """Each metric of the registry, wherever it was declared, has a row under the name that /metrics shows."""
    shown = f"{name}_total" if kind == "counter" else name
    _, said, labelled, meaning = row(page("metrics"), shown)
    assert (said, labelled) == (kind, ", ".join(f"`{label}`" for label in labels))
    assert len(meaning) > 20


def test_every_metric_of_the_module_is_counted() -> None:
    """The count above comes from the registry and has all that kanal/metrics.py declares."""
    declared = len(re.findall(r"^[A-Z_]+ = (?:Counter|Gauge|Histogram)\(", (ROOT / "kanal" / "metrics.py").read_text(), re.MULTILINE))
    assert 0 < declared <= len(METRICS) == len(rows(page("metrics"))) - 1


ERRORS: Sequence[type[KanalError]] = [KanalError, *(kind for kind in below(KanalError) if in_production(kind))]


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_error_is_in_the_reference(kind: type[KanalError]) -> None:
    """Each error of each module has a row that says what it is a kind of and what it means."""
    name, base, module, meaning = row(page("errors"), kind.__name__)
    assert [name, base, module] == [f"`{kind.__name__}`", f"`{kind.__bases__[0].__name__}`", f"`{kind.__module__}`"]
    assert len(meaning) > 20


def test_tree_at_the_top_of_the_errors_is_the_real_one() -> None:
    """The tree says for every class of the module what the caller does, and stands in the reference as it is."""
    tree = re.findall(r"^(?:│   )?[├└]── (\w+) +\S", page("errors"), re.MULTILINE)
    assert sorted(tree) == sorted(kind.__name__ for kind in ERRORS[1:] if kind.__module__ == errors.__name__)
    deeper = re.findall(r"^│   [├└]── (\w+)", page("errors"), re.MULTILINE)
    assert sorted(deeper) == sorted(
        kind.__name__ for kind in ERRORS[1:] if kind.__module__ == errors.__name__ and kind.__bases__[0] != KanalError
    )


def test_every_reason_code_given_by_name_is_in_the_reference() -> None:
    """Who finds a code in a metric or a dead letter can look it up."""
    code = "\n".join(path.read_text(encoding="utf-8") for folder in ("kanal", "services") for path in (ROOT / folder).rglob("*.py"))
    raised = set(re.findall(r'raise \w+\([^\n]*reason="([a-z-]+)"\)', code))
    assert len(raised) > 10
    assert raised <= {each[0].strip("`") for each in rows(section(page("errors"), "## Reason codes"))}


@pytest.mark.parametrize("status", LABELS)
def test_status_is_in_the_reference_with_its_words(status: str) -> None:
    """Each status has a row with both words."""
    assert row(section(page("statuses"), "## Statuses"), status)[1:3] == [LABELS[status]["id"], LABELS[status]["en"]]


@pytest.mark.parametrize("name", ACTIONS)
def test_action_is_in_the_reference_as_the_machine_does_it(name: str) -> None:
    """From, to and who are the machine's, and what it refuses in an empty request stands in the action's row."""
    action = ACTIONS[name]
    _, from_, to, who, needs, refused_by = row(section(page("statuses"), "## Actions"), name)
    named = frozenset(re.findall(r"`([\w-]+)`", from_))
    if from_ == "any open":
        named = frozenset(LABELS) - {"done", "rejected", "merged"}
    assert named == action.from_
    assert (to.strip("`"), who.split(", ")) == (action.to, sorted(action.roles))
    answer = move(report_in(min(action.from_)), empty_request(name, min(action.roles)), Rules(14, {"bina-marga": ""}))
    if isinstance(answer, Refusal):
        assert f"`{answer.rule}`" in refused_by
        assert needs != "nothing"
        assert any(
            each[0] == f"`{answer.rule}`" or answer.rule.endswith("-needed")
            for each in rows(section(page("statuses"), "## Rules that refuse"))
        )


def report_in(status: str) -> Report:
    at = datetime(2026, 11, 24, tzinfo=UTC)
    return Report(
        number="JK-WE8G-QSQG-BPWJ", channel="sms", conversation="c", sender_key="s", language="id", visibility="private", received_at=at,
        text="", category="street-light", area="", status=status, agency="bina-marga", finished_by="staff:agency", due_at=at, done_at=at,
    )  # fmt: skip


def empty_request(action: str, role: str) -> UpdateRequested:
    at = datetime(2026, 12, 24, tzinfo=UTC)
    return UpdateRequested(number="JK-WE8G-QSQG-BPWJ", action_id="a", action=action, by_role=role, by="staff:agency", requested_at=at)


# Readable.


def anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w-]", "", heading.lower().replace(" ", "-")) for heading in headings}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_page_is_readable(path: Path) -> None:
    """One title, an opening line, tables whose rows all fit their heading, no `<word>` that would vanish as HTML."""
    text = path.read_text(encoding="utf-8")
    assert len(re.findall(r"^# ", text, re.MULTILINE)) == 1
    opening = next(line for line in text.splitlines()[1:] if line and not line.startswith("<!--"))
    assert opening[0].isupper()
    assert opening[0] != "|"
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        lines = [re.split(r"(?<!\\)\|", line) for line in block.splitlines()]
        assert len({len(line) for line in lines}) == 1
        assert len(lines) > 2
    outside_code = re.sub(r"```.*?```|`[^`]*`|<!--.*?-->|<https://[^>]*>", "", text, flags=re.DOTALL)
    assert not re.search(r"(?<!\\)<\w", outside_code)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_between_pages_lead_somewhere(path: Path) -> None:
    """Every link of a page names a page and a heading that are there."""
    for target in re.findall(r"\]\(([^)]+)\)", path.read_text(encoding="utf-8")):
        name, _, anchor = target.partition("#")
        linked = path.parent / name if name else path
        assert linked.exists(), target
        assert not anchor or anchor in anchors(linked), target


def test_reference_pages_named_in_the_code_exist() -> None:
    """A docstring that sends its reader to the reference sends him to a page."""
    code = "\n".join(path.read_text(encoding="utf-8") for folder in ("kanal", "services") for path in (ROOT / folder).rglob("*.py"))
    named = set(re.findall(r"docs/reference/([\w-]+\.md)", code))
    assert named
    assert named <= {path.name for path in PAGES}


@pytest.mark.parametrize(("gateway", "variable"), [("main", "KANAL_SMS_MAIN_SECRET"), ("second-one", "KANAL_SMS_SECOND_ONE_SECRET")])
def test_gateway_reads_the_variables_of_its_name(gateway: str, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As the reference says, the variables of an SMS gateway carry its name."""
    monkeypatch.setenv(variable, "secret-of-this-one")
    assert gateway_settings(gateway).secret == "secret-of-this-one"
