"""Writes the generated pages of docs/reference from the code: events, topics, settings, metrics, errors, statuses.

`python docs/generate.py` writes, `python docs/generate.py --check` only names the files that differ and exits 1.
Not here: words of explanation (how-to, decisions) and the JSON Schemas (schemas/generate.py).
"""

import ast
import importlib
import inspect
import pkgutil
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from prometheus_client import Counter, Gauge, Histogram
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT))  # the folders of the repository are no installed packages

from kanal_ingest_email.settings import EmailSettings  # noqa: E402
from kanal_ingest_sms.settings import SmsGatewaySettings  # noqa: E402
from kanal_tracker import machine  # noqa: E402
from kanal_tracker.machine import ACTIONS, BACK, OPEN, SAME, STAFF_ROLE  # noqa: E402
from kanal_tracker.settings import TrackerSettings  # noqa: E402

import kanal  # noqa: E402
from kanal import errors, faults, metrics, topics, web  # noqa: E402
from kanal.errors import InvalidInput, KanalError  # noqa: E402
from kanal.events import EVENTS, MAJOR_VERSION, Attachment, Part, event_type  # noqa: E402
from kanal.settings import EnvironmentSettings, Settings  # noqa: E402
from kanal.status import CLOSED, LABELS  # noqa: E402
from kanal.topics import TOPICS  # noqa: E402
from schemas.generate import kept, schema_name, structures, write_or_check  # noqa: E402

NOTICE = "<!-- Generated, do not edit: python docs/generate.py -->"

READ_BY: Mapping[type[EnvironmentSettings], str] = {
    Settings: "every service (ingest-email, ingest-sms, normalizer, router, tracker) and the `kanal` command",
    EmailSettings: "ingest-email and `kanal up`",
    SmsGatewaySettings: "ingest-sms and `kanal up`",
    TrackerSettings: "tracker and `kanal up`",
}

NEEDS: Mapping[str, str] = {
    "accept": "`finish_at` if it will be done at another time than the rule's",
    "refuse": "`reason`; `agency` if another one is suggested. The third refusal sends it to the dispatchers",
    "assign": "`agency`",
    "delegate": "`agency`: a unit below the one that has it",
    "ask": "`note`: one question, passed on through the channel; the clock pauses",
    "answer": "nothing; a message of the reporter, or the clock when none came in time. The clock goes on",
    "progress": "`note`",
    "finish": "`note`, and `reason` why there is no photo of the result",
    "validate": "another person than the one who finished it (with the one staff token nobody can tell)",
    "return": "`reason`",
    "reject": "`reason`",
    "merge": "`other`: the number of a report that is not itself merged",
    "unmerge": "nothing",
    "reopen": "BELUM from the reporter, or from one whose report was merged into this one; not later than the days of the pack",
}


REASON_AT: Mapping[str, int] = {"_Settled": 2, "settle_later": 4}
"""Calls that take a reason code without naming it, and where it stands among their arguments."""


class Source(NamedTuple):
    """A module of production code, parsed."""

    name: str
    tree: ast.Module


def page(title: str, intro: str, *sections: str) -> str:
    """A whole page."""
    return "\n\n".join([f"# {title}", NOTICE, intro, *sections]) + "\n"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(map(_cell, line)) + " |" for line in lines)


def _cell(text: str) -> str:
    """A bar would end the cell, and outside of code `<word>` would be taken for HTML and vanish."""
    pieces = text.replace("|", "\\|").split("`")
    return "`".join(piece if index % 2 else piece.replace("<", "\\<") for index, piece in enumerate(pieces))


def code(text: object) -> str:
    """As code; nothing for nothing."""
    return f"`{text}`" if str(text) else ""


def prose(text: str | None) -> str:
    """A docstring as one line."""
    return " ".join((text or "").split())


# Events and topics.


def events_page() -> str:
    """Every event with its fields."""
    inner = [Part, Attachment]
    return page(
        "Events",
        "What Kanal says in its topics. On the wire an event is JSON and its headers are CloudEvents attributes (`schemas/`); a field "
        f"with a default may be left out, unknown fields are tolerated, `ce_type` is `kanal.<event>.v{MAJOR_VERSION}`. Times carry their "
        "zone. A field without a meaning here says what its name says.",
        *(_event_section(name) for name in EVENTS),
        "## What events are made of",
        *(f"### {kind.__name__}\n\n{prose(kind.__doc__)}\n\n{_fields_table(kind.__name__)}" for kind in inner),
    )


def _event_section(name: str) -> str:
    kind = EVENTS[name]
    where = ", ".join(code(topic.name) for topic in TOPICS.values() if name in topic.events)
    facts = f"{kind.__name__}, `{event_type(kind)}`, in {where}. Schema: `schemas/{schema_name(name)}`."
    return f"## {name}\n\n{prose(kind.__doc__)}\n\n{facts}\n\n{_fields_table(kind.__name__)}"


def _fields_table(title: str) -> str:
    rows = [(code(each.name), code(each.type), _default(each.default), each.meaning) for each in structures()[title]]
    return table(("field", "type", "default", "meaning"), rows)


def _default(written: str | None) -> str:
    if written is None:
        return "required"
    return {"''": "empty", "()": "none", "None": "none", "False": "no", "True": "yes"}.get(written, code(written.strip("'")))


def topics_page() -> str:
    """The table of topics."""
    rows = [
        (code(each.name), each.key, each.says, ", ".join(map(_event_link, each.events)), each.written_by, each.read_by, kept(each))
        for each in TOPICS.values()
    ]
    return page(
        "Topics",
        f"Where events go. Records with the same key keep their order; each topic has {topics.PARTITIONS} partitions on Kafka, for ever, "
        "and one in embedded mode. `kanal topics` creates on Kafka what is missing. The same for machines: `schemas/asyncapi.json`.",
        table(("topic", "key", "says", "events", "written by", "read by", "kept"), rows),
    )


def _event_link(name: str) -> str:
    return f"[{name}](events.md#{name})"


# Settings.


def settings_page() -> str:
    """Every setting by the class that declares it."""
    return page(
        "Settings",
        "Kanal is set up by environment variables. **Each also works with `_FILE` behind its name**: "
        "`KANAL_STAFF_TOKEN_FILE=/run/secrets/token` gives the content of that file, without blanks at its ends; the variable itself goes "
        "first. A wrong value stops the start with a sentence that names the variable.",
        *(_settings_section(kind) for kind in READ_BY),
        _fail_point_section(),
    )


def _settings_section(kind: type[EnvironmentSettings]) -> str:
    own = {name: field for name, field in kind.model_fields.items() if name in kind.__annotations__}
    prefix = kind.model_config.get("env_prefix", "")
    rows = [(code(f"{prefix}{name}".upper()), _setting_default(field), prose(field.description)) for name, field in own.items()]
    intro = f"{prose(kind.__doc__)} Read by {READ_BY[kind]}."
    return f"## {_heading(kind)}\n\n{intro}\n\n{table(('variable', 'default', 'meaning'), rows)}"


def _heading(kind: type[EnvironmentSettings]) -> str:
    return {Settings: "All services", EmailSettings: "E-mail", SmsGatewaySettings: "SMS gateways", TrackerSettings: "Tracker"}[kind]


def _setting_default(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True)
    if default is PydanticUndefined:
        return "required"
    return "none" if default in (None, {}) else code(default) or "empty"


def _fail_point_section() -> str:
    rows = [(code(name), code(where)) for name, where in sorted(set(_fail_points()))]
    return (
        "## For tests only\n\n"
        f"`KANAL_FAIL_POINT` (default: empty). {prose(faults.fail_point.__doc__)} Not for `_FILE`. "
        "The points, where `<stage>` is the name of a stage (`tracker`) and `<sender>` that of a sender (`sms-sender`):\n\n"
        + table(("fail-point", "in"), rows)
    )


def _fail_points() -> Iterator[tuple[str, str]]:
    for source in sources():
        for call in _calls(source.tree):
            mine = _name(call.func) == "fail_point" or any(_name(each) == "fail_point" for each in call.args)
            for each in call.args if mine else ():
                if isinstance(each, ast.JoinedStr):
                    yield _words(each, {**_constants(source.tree), "self.handler.name": "<stage>", "self.name": "<sender>"}), source.name


# Metrics.


def metrics_page() -> str:
    """Every metric as Prometheus sees it."""
    found = [each for each in vars(metrics).values() if isinstance(each, Counter | Gauge | Histogram)]
    rows = [(code(_exported(each)), each._type, ", ".join(map(code, each._labelnames)), _meaning(each)) for each in found]
    return page(
        "Metrics",
        "What `/metrics` of every process says, in the text format of Prometheus, with what to do when it rises. Label values are bounded "
        "and hold no personal data. Counters start at 0 with each process: use `rate()`.",
        table(("name", "kind", "labels", "meaning"), rows),
    )


def _exported(metric: Counter | Gauge | Histogram) -> str:
    return f"{metric._name}_total" if isinstance(metric, Counter) else metric._name


def _meaning(metric: Counter | Gauge | Histogram) -> str:
    if not isinstance(metric, Histogram):
        return metric._documentation
    bounds = ", ".join(f"{bound:g}" for bound in metric._upper_bounds if bound != float("inf"))
    return f"{metric._documentation} Exported as `_bucket` (up to {bounds}), `_sum` and `_count`."


# Errors.


def errors_page() -> str:
    """Classes, HTTP and SMTP answers, reason codes."""
    return page(
        "Errors",
        "What can go wrong, by what the caller does about it. No message, attribute or code holds personal data.",
        f"## Classes\n\n```\n{_tree()}\n```\n\n{_classes()}",
        "## HTTP answers\n\nThe body of every answer but success is JSON with `error` and `message`.\n\n" + _http_answers(),
        "Raised by name:\n\n" + _http_errors(),
        "## SMTP answers\n\n" + table(("answer", "in"), sorted(set(_smtp_answers()))),
        "## Reason codes\n\nBounded codes in logs, metrics (`reason`, `cause`), `dead-letter` and `reply-settled`. An error without a code "
        "of its own has its class name. `invalid-<field>` stands for input that was refused; `bug-<class>` for an error that Kanal does "
        "not know: look at the log.\n\n" + table(("code", "means", "in"), _reasons()),
    )


def _tree() -> str:
    return "\n".join(line for line in (errors.__doc__ or "").splitlines()[1:] if line).strip()


def _classes() -> str:
    rows = [(code(each.__name__), code(each.__bases__[0].__name__), code(each.__module__), prose(each.__doc__)) for each in kanal_errors()]
    return "All of them, those that only one part knows included:\n\n" + table(("class", "is a", "in", "meaning"), rows)


@cache
def kanal_errors() -> Sequence[type[KanalError]]:
    """KanalError and everything that is one, in whatever module."""
    for source in sources():
        if not source.name.endswith("__main__"):
            importlib.import_module(source.name)
    return [KanalError, *_below(KanalError)]


def _below(kind: type[KanalError]) -> Iterator[type[KanalError]]:
    for each in sorted(kind.__subclasses__(), key=lambda each: (each.__module__ != errors.__name__, inspect.getsourcelines(each)[1])):
        yield each
        yield from _below(each)


def _http_answers() -> str:
    """Asked of `kanal.web` itself, with one error of each kind."""
    asked: Sequence[tuple[str, KanalError]] = [
        ("InvalidInput", InvalidInput("<field>", "<the rule that it breaks>")),
        ("RecordTooLarge", errors.RecordTooLarge()),
        ("TemporaryFailure and below", errors.TemporaryFailure()),
        ("any other KanalError", KanalError("", reason="<reason>")),
    ]
    rows = [_answer(name, error) for name, error in asked]
    return table(("error", "answer", "body", "headers"), [*rows, ("anything else", "500", '`{"error":"internal",…}`', "")])


def _answer(name: str, error: KanalError) -> Sequence[str]:
    answer = web.error_response(error)
    retry = answer.headers.get("Retry-After")
    return (name, str(answer.status_code), code(bytes(answer.body).decode()), f"`Retry-After: {retry}`" if retry else "")


def _http_errors() -> str:
    found = {row for source in sources() for row in _http_errors_of(source)}
    return table(("answer", "error", "message", "in"), sorted(found))


def _http_errors_of(source: Source) -> Iterator[tuple[str, str, str, str]]:
    for function in (each for each in ast.walk(source.tree) if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)):
        for call in _calls(function):
            if _name(call.func) == "HttpError":
                status, rule, message = call.args[:3]
                named = code(rule.value) if isinstance(rule, ast.Constant) else "the rule that refused, see [statuses](statuses.md)"
                written = isinstance(message, ast.Constant | ast.JoinedStr)
                said = _words(message, _constants(source.tree)) if written else "says what is wrong"
                yield " or ".join(_statuses(status, function, source.tree)), named, said, code(source.name)


def _statuses(status: ast.expr, function: ast.FunctionDef | ast.AsyncFunctionDef, module: ast.Module) -> Sequence[str]:
    """The status, or those that callers of the function give it."""
    if isinstance(status, ast.Constant):
        return [str(status.value)]
    position = [each.arg for each in function.args.args].index(ast.unparse(status))
    given = [call.args[position] for call in _calls(module) if _name(call.func) == function.name]
    return sorted({ast.unparse(each) for each in given})


def _smtp_answers() -> Iterator[tuple[str, str]]:
    for source in sources():
        for node in ast.walk(source.tree):
            if isinstance(node, ast.Constant | ast.JoinedStr):
                words = _words(node, _constants(source.tree))
                if re.match(r"[245]\d\d \d\.\d\.\d ", words) and (isinstance(node, ast.JoinedStr) or not words.endswith(" ")):
                    yield code(words), code(source.name)


def _reasons() -> Sequence[Sequence[str]]:
    found: dict[str, tuple[set[str], set[str]]] = {}
    for source in sources():
        for words, meaning in _reasons_of(source):
            meanings, modules = found.setdefault(words, (set(), set()))
            meanings.add(meaning)
            modules.add(code(source.name))
    return [(code(words), "; ".join(sorted(each[0])), ", ".join(sorted(each[1]))) for words, each in sorted(found.items())]


def _reasons_of(source: Source) -> Iterator[tuple[str, str]]:
    """Codes with their meaning: the message beside them, else what the error or the function around says of itself."""
    errors_by_name = {each.__name__: prose(each.__doc__) for each in kanal_errors()}
    for function in (each for each in ast.walk(source.tree) if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)):
        for call in _calls(function):
            name = _name(call.func)
            given = {each.arg: each.value for each in call.keywords if each.arg}
            if name in errors_by_name and "reason" in given:
                meaning = _words(call.args[0], _constants(source.tree)) if call.args else errors_by_name[name]
                yield from _coded(given["reason"], meaning)
            elif name == "DeadLetter" and "cause" in given:
                yield from _coded(given["cause"], prose(ast.get_docstring(function)))
            elif name in REASON_AT and len(call.args) > REASON_AT[name]:
                yield from _coded(call.args[REASON_AT[name]], "reason of a reply-settled")


def _coded(reason: ast.expr, meaning: str) -> Iterator[tuple[str, str]]:
    words = _words(reason, {"status": "<status>"})
    if re.fullmatch(r"[a-z0-9<>]+(-[a-z0-9<>]+)*", words) and words not in ("<reason>", "<cause>"):
        yield words, meaning


# Statuses.


def statuses_page() -> str:
    """Statuses with their words, the table of actions, and the rules that refuse."""
    return page(
        "Statuses and actions",
        "What a report can be, and who may change it how. Everything that is not in the table is refused with 422 and the name of the "
        "rule (409 for a stale version). A report begins as `waiting`. Where the words come from: [sources](sources.md).",
        "## Statuses\n\n" + table(("status", "Indonesian", "English", "open"), _status_rows()),
        "## Actions\n\n" + table(("action", "from", "to", "who", "needs", "refused by"), [_action_row(name) for name in ACTIONS]),
        f"The holder of the staff token acts as agency ({_staff('agency')}) or as dispatcher ({_staff('dispatcher')}), by the action; the "
        "rest comes from the reporter's messages and from clocks. `finish_at`, `reason`, `note`, `agency` and `other` are fields of "
        "[update-requested](events.md#update-requested) and of the body of `POST /api/v1/reports/{number}/actions`.",
        "## Rules that refuse\n\nEvery action can meet those of `move`: they are looked at first, in this order.\n\n"
        + table(("rule", "message", "in"), _rule_rows()),
    )


def _status_rows() -> Iterator[Sequence[str]]:
    for status, words in LABELS.items():
        yield code(status), words["id"], words["en"], "no" if status in CLOSED else "yes"


def _action_row(name: str) -> Sequence[str]:
    action = ACTIONS[name]
    to = action.to if action.to in (BACK, SAME) else code(action.to)
    roles = ", ".join(sorted(action.roles))
    return code(name), _from(action.from_), to, roles, NEEDS[name], ", ".join(map(code, _own_rules()[name]))


def _from(statuses: frozenset[str]) -> str:
    return "any open" if statuses == OPEN else ", ".join(code(each) for each in LABELS if each in statuses)


def _staff(role: str) -> str:
    return ", ".join(code(name) for name, own in STAFF_ROLE.items() if own == role)


def _own_rules() -> Mapping[str, Sequence[str]]:
    """The rules of each action's check, read from the machine's source: refusals that it makes itself, then fields that it needs."""
    module = _machine()
    functions = {each.name: each for each in module.body if isinstance(each, ast.FunctionDef)}
    literal = next(each.value for each in module.body if isinstance(each, ast.AnnAssign) and _name(each.target) == "ACTIONS")
    assert isinstance(literal, ast.Dict)
    rows = {_words(key, {}): value for key, value in zip(literal.keys, literal.values, strict=True) if key is not None}
    checks = {name: row.args[3] for name, row in rows.items() if isinstance(row, ast.Call)}
    return {name: _rules_in(functions[check.id] if isinstance(check, ast.Name) else check) for name, check in checks.items()}


def _rules_in(node: ast.AST) -> Sequence[str]:
    own = [_words(call.args[0], {}) for call in _calls(node) if _name(call.func) == "Refusal"]
    needed = [f"{_words(field, {})}-needed" for call in _calls(node) if _name(call.func) == "_needs" for field in call.args]
    return list(dict.fromkeys([*needed, *own]))


def _rule_rows() -> Iterator[Sequence[str]]:
    shown = {"request.version": "<version seen>", "unit": "<agency>", "report.agency": "<its agency>", "report.status": "<its status>"}
    for function in (each for each in _machine().body if isinstance(each, ast.FunctionDef)):
        for call in _calls(function):
            if _name(call.func) == "Refusal":
                yield code(_words(call.args[0], shown)), _words(call.args[1], shown), code(function.name.removeprefix("_"))


def _machine() -> ast.Module:
    return ast.parse(inspect.getsource(machine))


# Reading source.


@cache
def sources() -> Sequence[Source]:
    """Every module of production code, in the order of its name; the demo plays citizens and agencies and is none."""
    roots = [("kanal", Path(kanal.__file__).parent), *((each.name, each) for each in sorted((ROOT / "services").glob("*/kanal_*")))]
    return [each for package, folder in roots for each in _modules(package, folder)]


def _modules(package: str, folder: Path) -> Iterator[Source]:
    for found in [package, *(each.name for each in pkgutil.walk_packages([str(folder)], f"{package}."))]:
        path = folder.joinpath(*found.split(".")[1:])
        file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if ".demo" not in found:
            yield Source(found, ast.parse(file.read_text(encoding="utf-8")))


def _calls(node: ast.AST) -> Iterator[ast.Call]:
    """In the order of the source."""
    found = [each for each in ast.walk(node) if isinstance(each, ast.Call)]
    return iter(sorted(found, key=lambda each: (each.lineno, each.col_offset)))


def _name(node: ast.expr) -> str:
    return ast.unparse(node) if isinstance(node, ast.Name | ast.Attribute) else ""


def _constants(module: ast.Module) -> Mapping[str, str]:
    """Names of the module that stand for a text."""
    assigned = [each for each in module.body if isinstance(each, ast.Assign) and isinstance(each.value, ast.Constant)]
    return {_name(each.targets[0]): str(each.value.value) for each in assigned if isinstance(each.value, ast.Constant)}


def _words(node: ast.expr, known: Mapping[str, str]) -> str:
    """A text of the source; what is put in at run time stands in <…>, if it is not among `known`."""
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(_words(each, known) for each in node.values)
    if isinstance(node, ast.FormattedValue):
        written = ast.unparse(node.value)
        return known.get(written, f"<{written.rpartition('.')[2]}>" if re.fullmatch(r"[\w.]+", written) else "…")
    return "" if isinstance(node, ast.Name) else "…"


PAGES: Mapping[str, Callable[[], str]] = {
    "events": events_page,
    "topics": topics_page,
    "settings": settings_page,
    "metrics": metrics_page,
    "errors": errors_page,
    "statuses": statuses_page,
}


def generated() -> Mapping[Path, str]:
    """Every page by its path."""
    return {HERE / "reference" / f"{name}.md": write() for name, write in PAGES.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """0 = done, or up to date; 1 = differences."""
    return write_or_check(generated(), "*.md", arguments)


if __name__ == "__main__":
    sys.exit(main())
