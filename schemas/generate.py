"""Writes the JSON Schemas of the events, the list of frozen fields, and the AsyncAPI document of the topics into this folder.

`python schemas/generate.py` writes, `python schemas/generate.py --check` only names the files that differ and exits 1.
Not here: the examples (made by hand, never edited) and what an event means (the docstrings in kanal/events.py).
"""

import argparse
import ast
import json
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from kanal import events
from kanal.events import EVENTS, MAJOR_VERSION, Event, event_type
from kanal.topics import PARTITIONS, TOPICS, Topic

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
FIELDS = HERE / f"fields.v{MAJOR_VERSION}.json"
DIALECT = "https://json-schema.org/draft/2020-12/schema"
DAY_MS = 86_400_000

Json = dict[str, Any]


class Field(NamedTuple):
    """A field of a structure as it stands in the source."""

    name: str
    type: str
    default: str | None
    """As written in the source; None = required."""
    meaning: str

    @property
    def declared(self) -> str:
        """Type and default. The default is a part of what a record says: it is left out of the record."""
        return self.type if self.default is None else f"{self.type} = {self.default}"


class FieldChanged(Exception):
    """A field that readers rely on was removed, renamed or given another type or default."""


# Reading kanal/events.py.


def structures(path: Path = Path(events.__file__)) -> Mapping[str, Sequence[Field]]:
    """The fields of every class in a module, with the docstrings that stand under them; Python itself does not keep those."""
    module = ast.parse(path.read_text(encoding="utf-8"))
    return {each.name: _fields(each.body) for each in module.body if isinstance(each, ast.ClassDef)}


def _fields(body: Sequence[ast.stmt]) -> Sequence[Field]:
    found = []
    for statement, following in zip(body, [*body[1:], None], strict=True):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            default = ast.unparse(statement.value) if statement.value is not None else None
            found.append(Field(statement.target.id, ast.unparse(statement.annotation), default, _text_of(following)))
    return found


def _text_of(statement: ast.stmt | None) -> str:
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant) and isinstance(statement.value.value, str):
        return " ".join(statement.value.value.split())
    return ""


# Schemas of the events.


def schema_of(name: str, source: Mapping[str, Sequence[Field]]) -> Json:
    """The JSON Schema of an event. Unknown fields are allowed: readers tolerate them."""
    kind = EVENTS[name]
    (top,), shared = msgspec.json.schema_components([kind], ref_template="#/$defs/{name}")
    described = {title: _described(schema, source[title]) for title, schema in shared.items()}
    body = described.pop(top["$ref"].rpartition("/")[2])
    schema = {"$schema": DIALECT, "$id": schema_name(name), **body}
    return {**schema, "$defs": described} if described else schema


def _described(schema: Json, fields: Sequence[Field]) -> Json:
    for field in fields:
        own = schema["properties"][field.name]
        if field.meaning:
            own["description"] = field.meaning
        if "datetime" in field.type:  # msgspec names no format, since a struct may hold times without a zone; Kanal's have one
            for each in (own, *own.get("anyOf", ())):
                if each.get("type") == "string":
                    each["format"] = "date-time"
    return schema


def schema_name(name: str) -> str:
    """The file of an event's schema."""
    return f"{name}.v{MAJOR_VERSION}.json"


# Frozen fields.


def frozen_fields(before: Mapping[str, Mapping[str, str]], source: Mapping[str, Sequence[Field]]) -> Json:
    """The fields frozen so far and the new ones. *Raises:* FieldChanged when one of those frozen is not as it was."""
    now = {title: {field.name: field.declared for field in source[title]} for title in _on_the_wire(source)}
    wrong = [
        f"{title}.{name}: was `{declared}`, is `{now.get(title, {}).get(name, 'gone')}`"
        for title, fields in before.items()
        for name, declared in fields.items()
        if now.get(title, {}).get(name) != declared
    ]
    if wrong:
        raise FieldChanged("; ".join(wrong))
    return {title: {**before.get(title, {}), **fields} for title, fields in now.items()}


def _on_the_wire(source: Mapping[str, Sequence[Field]]) -> Sequence[str]:
    """The events, and the structures that they are made of."""
    names = [kind.__name__ for kind in EVENTS.values()]
    inner = {word for name in names for field in source[name] for word in re.findall(r"\w+", field.type) if word in source}
    return [*names, *sorted(inner)]


# AsyncAPI.


def asyncapi(source: Mapping[str, Sequence[Field]]) -> Json:
    """Who says what on which topic, with which key and headers."""
    keys = {event: topic.key for topic in TOPICS.values() for event in topic.events}
    messages = {name: _message(name, keys[name], source) for name in EVENTS}
    operations = {name: operation for topic in TOPICS.values() for name, operation in _operations(topic).items()}
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Kanal: topics and events",
            "version": f"{MAJOR_VERSION}.0.0",
            "description": (
                "The journal of Kanal: Apache Kafka, or one SQLite file in embedded mode. Order is kept per key. Every record may come "
                "more than once: drop an id (ce_id) that was applied. Unknown fields must be tolerated. Generated, do not edit."
            ),
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {topic.name: _channel(topic) for topic in TOPICS.values()},
        "operations": operations,
        "components": {
            "messages": {**messages, "removal": _removal()},
            "schemas": {"cloudEventsHeaders": _headers()},
        },
    }


def _channel(topic: Topic) -> Json:
    names = [*topic.events, *(["removal"] if topic.compacted else [])]
    who = f"Written by: {topic.written_by}. Read by: {topic.read_by}."
    return {
        "address": topic.name,
        "description": f"{_sentence(topic.says)} Key: {topic.key}. Kept: {kept(topic)}. {who}",
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in names},
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": PARTITIONS,
                "topicConfiguration": _kafka_configuration(topic),
                "bindingVersion": "0.5.0",
            }
        },
    }


def _kafka_configuration(topic: Topic) -> Json:
    if topic.compacted:
        return {"cleanup.policy": ["compact"]}
    return {"cleanup.policy": ["delete"], "retention.ms": topic.kept_days * DAY_MS if topic.kept_days else -1}


def kept(topic: Topic) -> str:
    """How long records stay, in words."""
    if topic.compacted:
        return "the newest of each key (compacted)"
    return f"{topic.kept_days} days" if topic.kept_days else "for ever"


def _operations(topic: Topic) -> Json:
    channel = f"#/channels/{topic.name}"
    operations = {}
    for who in topic.written_by.split(", "):
        said = _said_by(who, topic)
        operations[f"{_code(who)}-writes-{topic.name}"] = {
            "action": "send",
            "channel": {"$ref": channel},
            "summary": f"Written by {who}.",
            "messages": [{"$ref": f"{channel}/messages/{name}"} for name in said],
        }
    for who in topic.read_by.split(", "):
        operations[f"{_code(who)}-reads-{topic.name}"] = {
            "action": "receive",
            "channel": {"$ref": channel},
            "summary": f"Read by {who}.",
        }
    return operations


def _said_by(who: str, topic: Topic) -> Sequence[str]:
    """Which of the topic's events a service builds in its own code; all of them where that tells nothing (adapters, senders)."""
    service = re.split(r"\W", who)[0]
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "services" / service).rglob("*.py"))
    said = [name for name in topic.events if re.search(rf"\b{EVENTS[name].__name__}\((?!\))", code)]
    return said or topic.events


def _message(name: str, key: str, source: Mapping[str, Sequence[Field]]) -> Json:
    kind = EVENTS[name]
    return {
        "name": event_type(kind),
        "title": kind.__name__,
        "summary": _summary(kind),
        "contentType": "application/json",
        "headers": {
            "allOf": [
                {"$ref": "#/components/schemas/cloudEventsHeaders"},
                {"type": "object", "properties": {"ce_type": {"const": event_type(kind)}}},
            ]
        },
        "payload": {"$ref": f"./{schema_name(name)}"},
        "bindings": {"kafka": {"key": {"type": "string", "description": _key_meaning(kind, key, source)}, "bindingVersion": "0.5.0"}},
    }


def _key_meaning(kind: type[Event], key: str, source: Mapping[str, Sequence[Field]]) -> str:
    field = key.replace(" ", "_")
    return f"The event's `{field}`." if field in {each.name for each in source[kind.__name__]} else _sentence(key)


def _removal() -> Json:
    headers = _headers()
    given = ("ce_id", "ce_source", "ce_time")
    return {
        "title": "Removal",
        "summary": "An empty record: what was said under this key is forgotten.",
        "headers": {**headers, "properties": {name: headers["properties"][name] for name in given}, "required": list(given)},
        "payload": {"type": "null"},
    }


def _headers() -> Json:
    properties = {
        "content-type": {"const": "application/json"},
        "ce_specversion": {"const": "1.0"},
        "ce_id": {"type": "string", "description": "Id of the event, derived from its input: the same again is a repeat."},
        "ce_type": {"type": "string", "description": f"Names the event: `kanal.<event>.v{MAJOR_VERSION}`."},
        "ce_source": {"type": "string", "description": "The stage or adapter that said it: `/kanal/<name>`."},
        "ce_time": {"type": "string", "format": "date-time", "description": "When it was said, UTC."},
        "traceparent": {"type": "string", "description": "W3C trace context; one trace follows a message through all stages."},
    }
    redriven = {"type": "string", "description": "Only on a redriven record: the one stage that handles it, others skip it."}
    return {
        "type": "object",
        "description": "CloudEvents 1.0 attributes, binary binding of the Kafka protocol.",
        "properties": {**properties, "for-stage": redriven},
        "required": list(properties),
    }


def _summary(kind: type[Event]) -> str:
    return " ".join((kind.__doc__ or "").split())


def _sentence(words: str) -> str:
    return f"{words[:1].upper()}{words[1:]}."


def _code(who: str) -> str:
    return re.sub(r"\W+", "-", who.removeprefix("the ").removesuffix(" only").replace("'s", "s"))


# Files.


def generated() -> Mapping[Path, str]:
    """What should be in this folder, by path."""
    source = structures()
    before = json.loads(FIELDS.read_text(encoding="utf-8")) if FIELDS.exists() else {}
    files = {HERE / schema_name(name): schema_of(name, source) for name in EVENTS}
    files |= {HERE / "asyncapi.json": asyncapi(source), FIELDS: frozen_fields(before, source)}
    return {path: json.dumps(content, indent=2, ensure_ascii=False) + "\n" for path, content in files.items()}


def write_or_check(files: Mapping[Path, str], pattern: str, arguments: Sequence[str] | None = None) -> int:
    """Write `files`, or with `--check` name those that differ. Files of `pattern` beside them that are made no more count too."""
    parser = argparse.ArgumentParser(description="Write the generated files, or check that they are up to date.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 and name the files that differ")
    check = parser.parse_args(arguments).check
    stale = [path for folder in {path.parent for path in files} for path in folder.glob(pattern) if _made_here(path) and path not in files]
    differing = [path for path, text in files.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in sorted([*differing, *stale]):
        sys.stderr.write(f"{path.relative_to(ROOT)}: {'is not as it would be written now' if check else 'written'}\n")
    if check:
        return 1 if differing or stale else 0
    for path in differing:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(files[path], encoding="utf-8")
    for path in stale:
        path.unlink()
    return 0


def _made_here(path: Path) -> bool:
    """Pages that a person wrote stand in the same folder; they do not say that they are generated."""
    return path.suffix != ".md" or "Generated, do not edit" in path.read_text(encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """0 = done, or up to date; 1 = differences, or a frozen field that was changed."""
    try:
        files = generated()
    except FieldChanged as changed:
        sys.stderr.write(f"{FIELDS.relative_to(ROOT)}: {changed}. Readers and records of today rely on it; see schemas/README.md\n")
        return 1
    return write_or_check(files, f"*.v{MAJOR_VERSION}.json", arguments)


if __name__ == "__main__":
    sys.exit(main())
