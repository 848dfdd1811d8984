"""A gateway's webhook body → its fields: what is taken, and which field is named when something is wrong."""

import json
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kanal_ingest_sms.parsing import MAX_TEXT_CHARACTERS, Inbound, parse_delivery, parse_inbound

from kanal.errors import InvalidInput
from kanal.events import Part

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
SMS = {"id": "abc-1", "from": "+6281200000001", "to": "08111272206", "text": "Lampu mati"}
PARTED = {"part_reference": "7", "part_number": 1, "part_total": 2}


def parsed(**changes: Any) -> Inbound:
    return parse_inbound(json.dumps(SMS | changes).encode(), JSON)


def refused(raw: bytes, content_type: str = JSON) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        parse_inbound(raw, content_type)
    return caught.value


@pytest.mark.parametrize(
    ("raw", "content_type"),
    [
        pytest.param(json.dumps(SMS).encode(), JSON, id="json"),
        pytest.param(json.dumps(SMS).encode(), "application/json; charset=utf-8", id="json with charset"),
        pytest.param(json.dumps(SMS).encode(), "", id="json without a type"),
        pytest.param(urlencode(SMS).encode(), FORM, id="form"),
        pytest.param(urlencode(SMS).encode(), "Application/X-WWW-Form-Urlencoded; charset=UTF-8", id="form in any case"),
        pytest.param(json.dumps(SMS | {"network": "x", "parts": [1]}).encode(), JSON, id="unknown fields are passed over"),
    ],
)
def test_json_and_form_say_the_same(raw: bytes, content_type: str) -> None:
    """Gateways send either."""
    assert parse_inbound(raw, content_type) == Inbound("abc-1", "+6281200000001", True, "08111272206", "Lampu mati", None)


@pytest.mark.parametrize(
    ("field", "value", "kept"),
    [
        pytest.param("id", 123, "123", id="whole number as id"),
        pytest.param("id", " x ", "x", id="blanks around an id"),
        pytest.param("text", " Lampu  mati\n", " Lampu  mati\n", id="text as it is: a part may end with a blank"),
        pytest.param("text", "x" * MAX_TEXT_CHARACTERS, "x" * MAX_TEXT_CHARACTERS, id="longest text"),
        pytest.param("text", "😀 & ü", "😀 & ü", id="any character"),
        pytest.param("text", 112, "112", id="a text of digits sent as number"),
    ],
)
def test_a_value_is_kept(field: str, value: Any, kept: str) -> None:
    """What can be understood is taken."""
    found = parsed(**{field: value})

    assert (found.vendor_id if field == "id" else found.text) == kept


@pytest.mark.parametrize(
    ("raw", "content_type", "field"),
    [
        pytest.param(b"\xff\xfe{}", JSON, "body", id="broken UTF-8"),
        pytest.param(b"", JSON, "body", id="empty"),
        pytest.param(b"{", JSON, "body", id="half JSON"),
        pytest.param(b"[]", JSON, "body", id="a list"),
        pytest.param(b"null", JSON, "body", id="null"),
        pytest.param(b"[" * 60_000, JSON, "body", id="nested too deeply"),
        pytest.param(json.dumps(SMS | {"text": "\ud800"}).encode(), JSON, "body", id="half a surrogate pair"),
        pytest.param(b"id=1", JSON, "body", id="form without its type"),
        pytest.param(b"id=%ff&from=%ff", FORM, "body", id="form with broken UTF-8"),
        pytest.param(b"&".join([b"a=1"] * 51), FORM, "body", id="form with 51 fields"),
        pytest.param(b"id=1&from=0812000001&to=1", FORM, "text", id="form without text"),
        pytest.param(b"id=1&from=0812000001&to=1&text=", FORM, "text", id="form with empty text"),
        pytest.param(b"id=1&from=0812000001&to=1&text=a%00b", FORM, "text", id="form with NUL"),
    ],
)
def test_a_body_that_cannot_be_read_names_the_field(raw: bytes, content_type: str, field: str) -> None:
    """The gateway's people must see at once what is wrong."""
    assert refused(raw, content_type).field == field


@pytest.mark.parametrize("field", ["id", "from", "to", "text"])
@pytest.mark.parametrize(
    ("value", "rule"),
    [
        pytest.param(None, "is missing", id="null"),
        pytest.param("", "is empty", id="empty"),
        pytest.param(" \n", "is empty", id="blank"),
        pytest.param(1.5, "must be text", id="fraction"),
        pytest.param(True, "must be text", id="true"),
        pytest.param(["x"], "must be text", id="list"),
        pytest.param({"x": 1}, "must be text", id="object"),
        pytest.param("a\x00b", "holds a NUL character", id="NUL"),
        pytest.param("1" * 10_001, "is longer than ", id="too long"),
    ],
)
def test_a_wrong_field_is_named_with_its_rule(field: str, value: Any, rule: str) -> None:
    """Which field and which rule; never the value, which may be personal."""
    error = refused(json.dumps(SMS | {field: value}).encode())

    assert error.field == field
    assert error.rule.startswith(rule)
    assert str(value) not in str(error) or value in (None, "", " \n")


@pytest.mark.parametrize("field", ["id", "from", "to", "text"])
def test_a_missing_field_is_named(field: str) -> None:
    """All four are needed."""
    error = refused(json.dumps({name: value for name, value in SMS.items() if name != field}).encode())

    assert (error.field, error.rule) == (field, "is missing")


# Senders.


@pytest.mark.parametrize(
    "typed",
    [
        "081200000001", "6281200000001", "+6281200000001", "+62 812-0000-0001", "0812 0000 0001", "62 812 0000 0001", "(0812) 0000-0001",
        "81200000001", 6281200000001,
    ],
)  # fmt: skip
def test_a_phone_is_one_person_however_the_gateway_writes_it(typed: Any) -> None:
    """The sender key comes from E.164: 08…, 62… and +62… are the same person."""
    assert parsed(**{"from": typed})[1:3] == ("+6281200000001", True)


@pytest.mark.parametrize(
    ("typed", "sender"), [("+12025550123", "+12025550123"), ("+65 8123 4567", "+6581234567"), ("021 5550001", "+62215550001")]
)
def test_foreign_and_fixed_numbers_are_phones_too(typed: str, sender: str) -> None:
    """A visitor reports as well."""
    assert parsed(**{"from": typed})[1:3] == (sender, True)


@pytest.mark.parametrize(
    "typed",
    ["JAKI", "Telkomsel", "PULSA123", "BANK DKI", "112", "1708", "3636", "98855", "62444", "0815555JAKI", "1500BCA", "INFO0812345678"],
)
def test_names_and_short_codes_are_nobody_to_answer(typed: str) -> None:
    """Applications send under names and short codes of up to six digits: turned into a phone, a stranger would be answered."""
    assert parsed(**{"from": typed})[1:3] == (typed, False)


# Parts.


@pytest.mark.parametrize(
    "fields",
    [
        pytest.param({}, id="none"),
        pytest.param({"part_total": None}, id="null"),
        pytest.param({"part_total": ""}, id="empty"),
        pytest.param({"part_total": 0}, id="0"),
        pytest.param({"part_total": 1, "part_number": 1, "part_reference": "7"}, id="1 of 1"),
        pytest.param({"part_total": "1", "part_number": "1"}, id="1 of 1 as text"),
    ],
)
def test_an_sms_in_one_piece_has_no_part(fields: dict[str, Any]) -> None:
    """Some gateways send the fields with every SMS."""
    assert parsed(**fields).part is None


@pytest.mark.parametrize(
    ("fields", "part"),
    [
        pytest.param(PARTED, Part("7", 1, 2), id="numbers"),
        pytest.param({"part_reference": 7, "part_number": "2", "part_total": "2"}, Part("7", 2, 2), id="text"),
        pytest.param({"part_reference": "a9", "part_number": 255, "part_total": 255}, Part("a9", 255, 255), id="as many as there can be"),
    ],
)
def test_a_part_is_read(fields: dict[str, Any], part: Part) -> None:
    """Reference, number, total: as numbers or as text."""
    assert parsed(**fields).part == part


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        pytest.param({"part_number": None}, "part_number", id="no number"),
        pytest.param({"part_reference": None}, "part_reference", id="no reference"),
        pytest.param({"part_reference": ""}, "part_reference", id="empty reference"),
        pytest.param({"part_reference": "x" * 41}, "part_reference", id="long reference"),
        pytest.param({"part_reference": [7]}, "part_reference", id="a list as reference"),
        pytest.param({"part_number": 3}, "part_number", id="number over total"),
        pytest.param({"part_number": 0}, "part_number", id="number 0"),
        pytest.param({"part_number": -1}, "part_number", id="number -1"),
        pytest.param({"part_number": "one"}, "part_number", id="a word"),
        pytest.param({"part_number": 1.5}, "part_number", id="a fraction"),
        pytest.param({"part_number": True}, "part_number", id="true"),
        pytest.param({"part_number": "²"}, "part_number", id="a digit that is no number"),
        pytest.param({"part_total": 256}, "part_total", id="total 256"),
        pytest.param({"part_total": 10_000}, "part_total", id="total 10,000"),
        pytest.param({"part_total": -2}, "part_total", id="total -2"),
        pytest.param({"part_total": "00"}, "part_total", id="total 00"),
        pytest.param({"part_total": 2.0}, "part_total", id="total 2.0"),
        pytest.param({"part_total": "²"}, "part_total", id="total ²"),
        pytest.param({"part_total": []}, "part_total", id="a list as total"),
        pytest.param({"part_total": {}}, "part_total", id="an object as total"),
        pytest.param({"part_total": 10**30}, "part_total", id="a huge total"),
    ],
)
def test_a_wrong_part_names_its_field(changes: dict[str, Any], field: str) -> None:
    """A part that is counted wrongly would wait for ever or be joined with the wrong text."""
    assert refused(json.dumps(SMS | PARTED | changes).encode()).field == field


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=200), st.text(max_size=100).map(str.encode)), st.sampled_from([JSON, FORM, ""]))
def test_any_bytes_give_an_sms_or_name_a_field(raw: bytes, content_type: str) -> None:
    """Nothing else comes out of the parser."""
    try:
        assert isinstance(parse_inbound(raw, content_type), Inbound)
    except InvalidInput as error:
        assert error.field  # noqa: PT017 (either outcome is right)


ANYTHING = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=10), st.lists(st.integers(), max_size=2))


@settings(max_examples=300, deadline=None)
@given(st.fixed_dictionaries({}, optional=dict.fromkeys([*SMS, *PARTED], ANYTHING)))
def test_any_values_give_an_sms_or_name_a_field(changes: dict[str, Any]) -> None:
    """Whatever stands in the fields, the answer is an SMS or the name of a field."""
    try:
        found = parse_inbound(json.dumps(SMS | PARTED | changes).encode(), JSON)
    except InvalidInput as error:
        assert error.field in {*SMS, *PARTED, "body"}  # noqa: PT017 (either outcome is right)
    else:
        assert found.part is None or 1 <= found.part.number <= found.part.total


# Delivery reports.


@pytest.mark.parametrize(
    ("status", "delivered", "final"),
    [
        ("delivered", True, True),
        ("DELIVRD", True, True),
        ("failed", False, True),
        ("UNDELIV", False, True),
        ("Expired", False, True),
        ("rejected", False, True),
        ("sent", False, False),
        ("queued", False, False),
        ("ENROUTE", False, False),
    ],
)
def test_a_delivery_report_tells_what_is_final(status: str, delivered: bool, final: bool) -> None:
    """Words of gateways and of SMPP (3.4, 5.2.28); what is not final changes nothing."""
    assert parse_delivery(json.dumps({"id": "r1", "status": status}).encode(), JSON) == ("r1", delivered, final)


def test_a_delivery_report_of_one_of_several_sms_is_about_the_reply() -> None:
    """An answer in three SMS has the ids r1-1, r1-2, r1-3."""
    assert parse_delivery(b"id=r1-2&status=delivered", FORM).reply_id == "r1"


@pytest.mark.parametrize(("body", "field"), [({"status": "sent"}, "id"), ({"id": "r1"}, "status"), ({"id": [], "status": "x"}, "id")])
def test_a_wrong_delivery_report_names_its_field(body: dict[str, Any], field: str) -> None:
    """Told to the gateway as with an SMS."""
    with pytest.raises(InvalidInput) as caught:
        parse_delivery(json.dumps(body).encode(), JSON)

    assert caught.value.field == field
