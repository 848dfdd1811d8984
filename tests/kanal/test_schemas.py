"""What lies in the topics stays readable: generated schemas, old examples, readers and writers of different age."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, get_args, get_type_hints

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from kanal.errors import InvalidEvent, NewerEvent
from kanal.events import EVENTS, MAJOR_VERSION, Attachment, Event, Part, decode, encode, event_type
from kanal.ids import derive_id
from kanal.journal import Record
from kanal.masking import mask
from kanal.numbers import read_number
from kanal.records import open_record, record_of, removal_of
from kanal.topics import CHANNELS, TOPICS

SCHEMAS = Path(__file__).resolve().parents[2] / "schemas"
EXAMPLES = sorted(path for path in (SCHEMAS / "examples").glob("*/*.json") if not path.name.endswith(".headers.json"))
AT = datetime(2026, 11, 24, 1, 12, 7, 418211, tzinfo=UTC)

REQUIRED: Mapping[str, set[str]] = {
    "MessageReceived": {"message_id", "channel", "account", "sender_key", "conversation", "received_at", "text", "number"},
    "ContactSealed": {"conversation", "sealed"},
    "MessageSettled": {"message_id", "channel", "outcome", "rule", "settled_at"},
    "ReportRegistered": {
        "number", "message_id", "channel", "sender_key", "conversation", "received_at", "text", "category", "category_reason",
    },
    "ReportAppended": {"number", "message_id", "channel", "sender_key", "conversation", "received_at", "text"},
    "StatusAsked": {"number", "message_id", "channel", "conversation", "asked_at"},
    "ReportRouted": {"number", "agency", "category", "row", "routed_at"},
    "UpdateRequested": {"number", "action_id", "action", "by_role", "requested_at"},
    "ReportUpdated": {"number", "version", "action", "accepted", "status", "updated_at"},
    "ReporterTold": {"number", "conversation", "status", "told_at"},
    "ReplyRequested": {"reply_id", "channel", "conversation", "kind", "values", "requested_at"},
    "ReplySettled": {"reply_id", "channel", "kind", "outcome", "settled_at"},
    "DeadLetter": {"stage", "topic", "key", "value", "headers", "cause", "died_at"},
    "Part": {"reference", "number", "total"},
    "Attachment": {"path", "media_type", "size", "sha256"},
}  # fmt: skip
"""Fields without a default, as they were when the structure came into the topics. A set here is never changed; new structures are added."""

_ALL: Sequence[type[msgspec.Struct]] = (*EVENTS.values(), Part, Attachment)
STRUCTURES: Mapping[str, type[msgspec.Struct]] = {kind.__name__: kind for kind in _ALL}


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def headers_of(example_file: Path) -> dict[str, str]:
    headers: dict[str, str] = read_json(example_file.with_name(f"{example_file.stem}.headers.json"))
    return headers


def schema(name: str) -> Any:
    return read_json(SCHEMAS / f"{name}.v{MAJOR_VERSION}.json")


def example_name(path: Path) -> str:
    return f"{path.parent.name}/{path.stem}"


# A check of JSON Schema, as much of it as the schemas use; what it does not know it refuses, so that nothing passes unread.

DESCRIBING = {"$schema", "$id", "$defs", "title", "description", "default"}
CHECKING = {"$ref", "anyOf", "type", "properties", "required", "items", "additionalProperties", "format"}
JSON_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,), "integer": (int,), "boolean": (bool,), "object": (dict,), "array": (list,), "null": (type(None),),
}  # fmt: skip


def violations(value: Any, rule: Mapping[str, Any], root: Mapping[str, Any], at: str = "$") -> Iterator[str]:
    """Where `value` breaks the schema `rule`."""
    assert rule.keys() <= DESCRIBING | CHECKING, f"this check does not know {rule.keys() - DESCRIBING - CHECKING}"
    if "$ref" in rule:
        yield from violations(value, root["$defs"][rule["$ref"].removeprefix("#/$defs/")], root, at)
    if "anyOf" in rule and all(any(violations(value, each, root, at)) for each in rule["anyOf"]):
        yield f"{at}: fits none of anyOf"
    if "type" in rule and not is_of_type(value, rule["type"]):
        yield f"{at}: is no {rule['type']}"
    elif isinstance(value, dict):
        yield from object_violations(value, rule, root, at)
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from violations(each, rule.get("items", {}), root, f"{at}[{index}]")
    elif isinstance(value, str) and rule.get("format") == "date-time" and not re.fullmatch(r"[\d-]{10}T[\d:.]+(Z|[+-]\d\d:\d\d)", value):
        yield f"{at}: is no date-time with a zone"


def object_violations(value: Mapping[str, Any], rule: Mapping[str, Any], root: Mapping[str, Any], at: str) -> Iterator[str]:
    for name in rule.get("required", ()):
        if name not in value:
            yield f"{at}: lacks {name}"
    for name, each in value.items():
        yield from violations(each, rule.get("properties", {}).get(name) or rule.get("additionalProperties") or {}, root, f"{at}.{name}")


def is_of_type(value: Any, name: str) -> bool:
    return isinstance(value, JSON_TYPES[name]) and not (name == "integer" and isinstance(value, bool))


# Any event that a writer could write.

# PostgreSQL stores no NUL, and UTF-8 knows no lone surrogates: no writer of Kanal lets either through.
texts = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=30)
zones = st.integers(-12 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
times = st.datetimes(datetime(2000, 1, 1), datetime(2199, 1, 1), timezones=st.just(UTC) | zones)  # noqa: DTZ001 (zones are given apart)
integers = st.integers(-1, 2**63 - 1)
parts = st.builds(Part, reference=texts, number=integers, total=integers)
attachments = st.builds(Attachment, path=texts, media_type=texts, size=integers, sha256=texts, sealed=st.booleans())
VALUES: Mapping[Any, st.SearchStrategy[Any]] = {
    str: texts,
    int: integers,
    bool: st.booleans(),
    datetime: times,
    Part | None: st.none() | parts,
    int | None: st.none() | integers,
    datetime | None: st.none() | times,
    tuple[str, ...]: st.lists(texts, max_size=3).map(tuple),
    tuple[Attachment, ...]: st.lists(attachments, max_size=2).map(tuple),
    dict[str, str]: st.dictionaries(texts, texts, max_size=3),
}


def events_of(kind: type[Event]) -> st.SearchStrategy[Event]:
    """Every field of its own type, or left at its default."""
    required = REQUIRED[kind.__name__]
    fields = {name: VALUES[hint] for name, hint in get_type_hints(kind).items()}
    return st.fixed_dictionaries(
        {name: each for name, each in fields.items() if name in required},
        optional={name: each for name, each in fields.items() if name not in required},
    ).map(lambda values: kind(**values))


def fields_of(event: Event) -> dict[str, Any]:
    return {name: getattr(event, name) for name in event.__struct_fields__}


any_event = st.sampled_from(list(EVENTS.values())).flatmap(events_of)
quickly = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


# Generated files.


def generate(*arguments: str, script: Path = SCHEMAS / "generate.py") -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(script), *arguments], capture_output=True, text=True, check=False)


def test_generated_schemas_are_up_to_date() -> None:
    """Whoever reads the schemas reads what the code does."""
    checked = generate("--check")
    assert checked.returncode == 0, f"run `python schemas/generate.py`:\n{checked.stderr}"


def test_check_of_an_outdated_copy_names_the_file_and_writes_nothing(tmp_path: Path) -> None:
    """`--check` fails loudly and changes nothing, else a CI job would hide what was forgotten."""
    copy = tmp_path / "schemas"
    copy.mkdir()
    for path in (*SCHEMAS.glob("*.json"), SCHEMAS / "generate.py"):
        copy.joinpath(path.name).write_bytes(path.read_bytes())
    (tmp_path / "services").symlink_to(SCHEMAS.parent / "services")
    outdated, obsolete = copy / "report-routed.v1.json", copy / "report-lost.v1.json"
    outdated.write_text("{}")
    obsolete.write_text("{}")
    checked = generate("--check", script=copy / "generate.py")
    assert checked.returncode == 1
    named = re.findall(r"^schemas/(\S+):", checked.stderr, re.MULTILINE)
    assert (named, outdated.read_text()) == ([obsolete.name, outdated.name], "{}")


@pytest.mark.parametrize(
    "frozen",
    [
        {"ReportRouted": {"number": "int"}},
        {"ReportRouted": {"division": "str"}},
        {"ReportRouted": {"attempt": "int = 1"}},
        {"ReportLost": {"number": "str"}},
    ],
    ids=["retyped", "removed", "other-default", "event-removed"],
)
def test_generator_refuses_to_thaw_a_frozen_field(tmp_path: Path, frozen: dict[str, Any]) -> None:
    """A field once written is never removed, renamed, retyped or given another default; the generator does not help to forget it."""
    copy = tmp_path / "schemas"
    copy.mkdir()
    (copy / "generate.py").write_bytes((SCHEMAS / "generate.py").read_bytes())
    (copy / "fields.v1.json").write_text(json.dumps(frozen))
    (tmp_path / "services").symlink_to(SCHEMAS.parent / "services")
    refused = generate(script=copy / "generate.py")
    (structure, fields), (field, *_) = next(iter(frozen.items())), next(iter(frozen.values()))
    assert refused.returncode == 1
    assert f"{structure}.{field}: was `{fields[field]}`" in refused.stderr
    assert json.loads((copy / "fields.v1.json").read_text()) == frozen


@pytest.mark.parametrize("name", EVENTS)
def test_schema_says_what_msgspec_decodes(name: str) -> None:
    """Schema and decoder agree on fields and on which of them are required, and unknown fields stay allowed."""
    kind, published = EVENTS[name], schema(name)
    assert set(published["properties"]) == set(kind.__struct_fields__)
    assert set(published["required"]) == {field.encode_name for field in msgspec.structs.fields(kind) if field.required}
    assert "additionalProperties" not in published


@quickly
@given(any_event)
def test_whatever_is_written_fits_its_schema(event: Event) -> None:
    """A reader that validates by the published schema refuses nothing that Kanal writes."""
    published = schema(event_type(type(event)).split(".")[1])
    assert list(violations(json.loads(encode(event)), published, published)) == []


# Frozen at v1.


@pytest.mark.parametrize("title", STRUCTURES)
def test_required_fields_are_those_of_the_first_day(title: str) -> None:
    """A field added later has a default, and a default once given stays: else old records or old writers break."""
    assert title in REQUIRED, f"{title} is new: freeze its required fields in REQUIRED"
    required = {field.name for field in msgspec.structs.fields(STRUCTURES[title]) if field.required}
    added, dropped = required - REQUIRED[title], REQUIRED[title] - required
    assert not added, f"{title}: {sorted(added)} must have a default, for records without it lie in the topics (schemas/README.md)"
    assert not dropped, f"{title}: {sorted(dropped)} must stay required, for readers of today rely on it (schemas/README.md)"


def test_frozen_fields_are_still_there_with_type_and_default() -> None:
    """No field of a record that lies in a topic is removed, renamed or retyped; a default says what old records leave out."""
    frozen = read_json(SCHEMAS / f"fields.v{MAJOR_VERSION}.json")
    now = {title: {field.name: declared(field) for field in msgspec.structs.fields(kind)} for title, kind in STRUCTURES.items()}
    wrong = [
        f"{title}.{name} was {before}, is {now.get(title, {}).get(name, 'gone')}"
        for title, fields in frozen.items()
        for name, before in fields.items()
        if now.get(title, {}).get(name) != before
    ]
    assert not wrong, f"only adding is allowed (schemas/README.md): {wrong}"
    assert frozen.keys() == STRUCTURES.keys()
    assert all(REQUIRED[title] <= fields.keys() for title, fields in frozen.items())


def declared(field: msgspec.structs.FieldInfo) -> str:
    """A field's type and default as the source spells them."""
    hint = field.type
    kind = hint.__name__ if isinstance(hint, type) and not get_args(hint) else re.sub(r"\b(?:\w+\.)+", "", str(hint))
    return kind if field.required else f"{kind} = {field.default!r}"


# Examples.


@pytest.mark.parametrize("path", EXAMPLES, ids=example_name)
def test_example_is_read_by_the_code_of_today(path: Path) -> None:
    """A new reader reads every record of old, and finds in it all that the record says."""
    event = decode(headers_of(path)["ce_type"], path.read_bytes())
    assert event_type(type(event)) == headers_of(path)["ce_type"]
    assert says(msgspec.to_builtins(fields_of(event)), read_json(path))


def says(read: Any, written: Any) -> bool:
    """`read` has everything that is in `written`, and perhaps fields that came later."""
    if isinstance(written, dict):
        return isinstance(read, dict) and all(name in read and says(read[name], each) for name, each in written.items())
    if isinstance(written, list):
        return len(read) == len(written) and all(says(*pair) for pair in zip(read, written, strict=True))
    return bool(read == written)


@pytest.mark.parametrize("path", EXAMPLES, ids=example_name)
def test_example_fits_its_schema(path: Path) -> None:
    """The published schema of today describes the records of old too."""
    published = schema(path.parent.name)
    assert list(violations(read_json(path), published, published)) == []


@pytest.mark.parametrize("path", EXAMPLES, ids=example_name)
def test_example_opens_as_a_record_of_its_topic(path: Path) -> None:
    """The headers of old records are understood: id, time and trace."""
    headers, event = headers_of(path), decode(f"kanal.{path.parent.name}.v1", path.read_bytes())
    opened = open_record(Record(topic="reports", key="key", value=path.read_bytes(), headers=headers))
    assert (opened.event, opened.event_id, opened.at) == (event, headers["ce_id"], datetime.fromisoformat(headers["ce_time"]))
    assert re.fullmatch(r"[0-9a-f]{32}", opened.trace)


@pytest.mark.parametrize("name", EVENTS)
def test_event_has_examples_and_one_of_them_is_minimal(name: str) -> None:
    """Each event has at least two examples, of which one has its required fields only, and together they show every field."""
    written = [set(read_json(path)) for path in EXAMPLES if path.parent.name == name]
    assert len(written) >= 2
    assert REQUIRED[EVENTS[name].__name__] in written
    assert set.union(*written) == set(EVENTS[name].__struct_fields__), "add an example that has the new field"


@pytest.mark.parametrize("path", [path for path in EXAMPLES if path.parent.name != "message-received"], ids=example_name)
def test_example_outside_of_message_received_is_masked(path: Path) -> None:
    """Examples show what may stand in a topic: no phone, mail address or identity number but in a received message."""
    event = read_json(path)
    shown = [event[name] for name in ("text", "note", "reason", "detail") if name in event] + [*event.get("values", {}).values()]
    assert [mask(each) for each in shown] == shown


def test_numbers_in_examples_are_valid() -> None:
    """Examples have real shape: their numbers pass the check symbol."""
    found = [number for path in EXAMPLES for number in re.findall(r"JK-\w{4}-\w{4}-\w{4}", path.read_text())]
    assert len(found) > len(EXAMPLES) / 2
    assert [read_number(number, "JK") for number in found] == found


# Readers and writers of different age.


@quickly
@given(any_event)
def test_decoded_event_is_the_encoded_one(event: Event) -> None:
    """decode(encode(e)) = e, for any event that a writer can write."""
    assert decode(event_type(type(event)), encode(event)) == event


@pytest.mark.parametrize("typed", [r"tulis \u0000 saja", r"\\u0000", r"C:\u0000\n"], ids=["within", "two-backslashes", "path"])
def test_text_that_only_spells_a_nul_character_is_read(typed: str) -> None:
    """Six plain characters are text, not NUL: the message was acknowledged and must not end as a dead letter that no redrive mends."""
    event = EVENTS["contact-sealed"](conversation=typed, sealed="x")
    assert decode(event_type(type(event)), encode(event)) == event


@pytest.mark.parametrize(
    "nul", ["\x00", "before \x00 after", "\\\x00", "\\\\\x00"], ids=["alone", "within", "one-backslash", "two-backslashes"]
)
def test_nul_character_is_an_invalid_event(nul: str) -> None:
    """PostgreSQL cannot store NUL, so that no event with one may reach a stage, whatever stands in front of it."""
    event = EVENTS["contact-sealed"](conversation=nul, sealed="x")
    with pytest.raises(InvalidEvent) as refused:
        decode(event_type(type(event)), encode(event))
    assert refused.value.reason == "nul-character"


@quickly
@given(any_event, texts)
def test_old_reader_reads_an_event_with_added_fields(event: Event, added: str) -> None:
    """An old reader tolerates fields of a newer writer, in the event and in what it is made of."""
    newer = msgspec.defstruct(
        type(event).__name__,
        [("added_later", str, "new"), ("added_too", dict[str, list[str]], {})],
        bases=(type(event),),
        kw_only=True,
        frozen=True,
    )
    written = json.loads(msgspec.json.encode(newer(**fields_of(event), added_later=f"x{added}", added_too={added: [added]})))
    for attachment in written.get("attachments", ()):
        attachment["added_later"] = {"any": [1, None]}
    assert "added_later" in written
    assert decode(event_type(type(event)), json.dumps(written).encode()) == event


@pytest.mark.parametrize("path", EXAMPLES, ids=example_name)
def test_reader_of_the_first_day_reads_todays_events(path: Path) -> None:
    """Who knows only the required fields finds all of them, each with its value, in what is written today."""
    event = decode(f"kanal.{path.parent.name}.v1", path.read_bytes())
    hints, required = get_type_hints(type(event)), REQUIRED[type(event).__name__]
    oldest = msgspec.defstruct("Oldest", [(name, hints[name]) for name in sorted(required)])
    read = msgspec.json.decode(encode(event), type=oldest)
    assert {name: getattr(read, name) for name in required} == {name: getattr(event, name) for name in required}


@pytest.mark.parametrize("name", EVENTS)
def test_event_of_a_newer_major_version_stops_the_reader(name: str) -> None:
    """The order of deployment was wrong: the reader must stop, not guess, and not make a dead letter of it."""
    with pytest.raises(NewerEvent):
        decode(f"kanal.{name}.v{MAJOR_VERSION + 1}", b"{}")


@pytest.mark.parametrize(
    "ce_type",
    ["", "kanal", "kanal.report-lost.v1", "kanal.report-routed", "kanal.report-routed.v", "kanal.report-routed.v1.1", "kanal.report-routed.v-1",
     "kanal.report-routed.vx", "kanal.report-routed.v²", f"kanal.report-routed.v{'9' * 5000}", "report.routed.v1"],
    ids=["empty", "no-event", "unknown", "no-version", "empty-version", "minor-version", "negative", "no-digit", "superscript", "endless", "other-name"],
)  # fmt: skip
def test_type_that_names_no_event_is_an_invalid_event(ce_type: str) -> None:
    """Any `ce_type` gives an event or a dead letter; any other error would hold up the partition for ever."""
    with pytest.raises((InvalidEvent, NewerEvent)):
        decode(ce_type, b"{}")


junk: st.SearchStrategy[Any] = st.none() | st.booleans() | st.floats(allow_nan=False) | texts | st.lists(texts, max_size=2)


@quickly
@given(st.sampled_from(list(EVENTS)), st.binary(max_size=60) | junk.map(msgspec.json.encode))
@example("dead-letter", b"[" * 100_000)
@example("message-received", '{"text":"\ud800"}'.encode("utf-8", "surrogatepass"))
def test_any_bytes_are_an_event_or_invalid(name: str, value: bytes) -> None:
    """Whatever lies in a topic is an event or InvalidEvent, whose message quotes nothing of it."""
    assert_quotes_nothing(name, refusal_of(f"kanal.{name}.v1", value))


@quickly
@given(any_event, st.data())
def test_event_with_a_spoiled_field_is_an_event_or_invalid(event: Event, data: st.DataObject) -> None:
    """A field that is missing or of another type gives InvalidEvent, whose message quotes nothing of the record."""
    spoiled = data.draw(st.sampled_from(event.__struct_fields__))
    written = {**json.loads(msgspec.json.encode(fields_of(event))), spoiled: data.draw(junk)}
    if data.draw(st.booleans()):
        del written[spoiled]
    name = event_type(type(event)).split(".")[1]
    refused = refusal_of(f"kanal.{name}.v1", json.dumps(written).encode())
    assert_quotes_nothing(name, refused)
    assert refused is not None or spoiled in written or spoiled not in REQUIRED[type(event).__name__]


def assert_quotes_nothing(name: str, refused: InvalidEvent | None) -> None:
    if refused is not None:
        assert str(refused) in {f"{name} cannot be decoded", "the event holds a NUL character"}
        assert refused.__cause__ is None or str(refused.__cause__).isidentifier()


def refusal_of(ce_type: str, value: bytes) -> InvalidEvent | None:
    try:
        decode(ce_type, value)
    except InvalidEvent as error:
        return error
    return None


@pytest.mark.parametrize("at", ["0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-10:00", "yesterday", "", "2026-13-01T00:00:00Z"])
def test_record_with_an_impossible_time_is_an_invalid_event(at: str) -> None:
    """A `ce_time` that is no moment makes a dead letter; any other error would hold up the partition for ever."""
    event = EVENTS["contact-sealed"](conversation="c", sealed="x")
    record = record_of("contacts-sms", "c", event, event_id=derive_id("test"), source="test", at=AT)
    record.headers["ce_time"] = at
    with pytest.raises(InvalidEvent):
        open_record(record)


# AsyncAPI.


@pytest.fixture(scope="module")
def asyncapi() -> Any:
    return read_json(SCHEMAS / "asyncapi.json")


def resolved(document: Any, reference: str) -> Any:
    """What a `$ref` points at, in the document or in a file beside it."""
    if reference.startswith("./"):
        return read_json(SCHEMAS / reference)
    for step in reference.removeprefix("#/").split("/"):
        document = document[step]
    return document


def references(node: Any) -> Sequence[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if "$ref" in node else []
        return [*own, *(found for each in node.values() for found in references(each))]
    return [found for each in node for found in references(each)] if isinstance(node, list) else []


def test_every_reference_of_the_asyncapi_document_resolves(asyncapi: Any) -> None:
    """A tool that loads the document finds every channel, message and schema that it names."""
    found = references(asyncapi)
    assert len(found) > len(EVENTS)
    assert all(resolved(asyncapi, each) for each in found)


@pytest.mark.parametrize("name", TOPICS)
def test_channel_says_what_the_topic_table_says(asyncapi: Any, name: str) -> None:
    """Key, events, retention, writers and readers of a topic stand in the document."""
    topic, channel = TOPICS[name], asyncapi["channels"][name]
    assert topic.key in channel["description"]
    assert set(channel["messages"]) - {"removal"} == set(topic.events)
    assert ("removal" in channel["messages"]) == topic.compacted
    configuration = channel["bindings"]["kafka"]["topicConfiguration"]
    assert configuration["cleanup.policy"] == (["compact"] if topic.compacted else ["delete"])
    if not topic.compacted:
        assert configuration["retention.ms"] == (topic.kept_days * 86_400_000 if topic.kept_days else -1)
    actions = [each["action"] for each in asyncapi["operations"].values() if each["channel"]["$ref"] == f"#/channels/{name}"]
    assert actions.count("send") == len(topic.written_by.split(","))
    assert actions.count("receive") == len(topic.read_by.split(","))


def test_story_of_a_report_is_written_by_who_decides_it(asyncapi: Any) -> None:
    """In `reports` the normalizer registers, the router routes, people and clocks ask: nobody else says it."""
    sent = {
        operation["summary"]: [each["$ref"].rpartition("/")[2] for each in operation["messages"]]
        for operation in asyncapi["operations"].values()
        if operation["action"] == "send" and operation["channel"]["$ref"] == "#/channels/reports"
    }
    assert sent == {
        "Written by normalizer.": ["report-registered", "report-appended", "status-asked"],
        "Written by router.": ["report-routed"],
        "Written by tracker's pages and clocks.": ["update-requested"],
    }


def test_headers_of_a_record_are_the_documented_ones(asyncapi: Any) -> None:
    """What `record_of` and `removal_of` write is what the document promises, with the constants that it names."""
    event = EVENTS["contact-sealed"](conversation="c", sealed="x")
    written = record_of("contacts-sms", "c", event, event_id=derive_id("test"), source="test", at=AT).headers
    documented = asyncapi["components"]["schemas"]["cloudEventsHeaders"]
    assert set(documented["required"]) == set(written)
    assert set(documented["properties"]) == {*written, "for-stage"}
    assert all(rule.get("const", written[name]) == written[name] for name, rule in documented["properties"].items() if name in written)
    assert (
        asyncapi["components"]["messages"]["contact-sealed"]["headers"]["allOf"][1]["properties"]["ce_type"]["const"] == written["ce_type"]
    )
    removal = removal_of("contacts-sms", "c", source="test", at=AT).headers
    assert set(asyncapi["components"]["messages"]["removal"]["headers"]["required"]) == set(removal)


def test_every_channel_of_the_release_has_its_three_topics(asyncapi: Any) -> None:
    """A channel without its topics could take nothing in or answer nobody."""
    wanted = {f"{kind}-{channel}" for channel in CHANNELS for kind in ("message-received", "contacts", "reply-requested")}
    assert wanted <= set(asyncapi["channels"])
