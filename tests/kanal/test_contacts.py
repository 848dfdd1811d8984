"""Sender keys, conversations, sealed contacts and reply tokens."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.public import PrivateKey

from kanal.contacts import (
    Contact,
    conversation_key,
    number_in_token,
    open_bytes,
    open_sealed,
    reply_token,
    seal,
    seal_bytes,
    sender_key,
)
from kanal.errors import InvalidEvent, InvalidInput
from kanal.keys import Keys
from kanal.testing import keys, number

ADI = Contact(address="+6281200000001", account="main")


def other_keys() -> Keys:
    private = PrivateKey(b"d" * 32)
    return Keys(b"1" * 32, b"2" * 32, b"3" * 32, bytes(private.public_key), bytes(private))


def test_a_sealed_contact_opens_to_what_was_sealed() -> None:
    """All that a sender needs comes out again."""
    contact = Contact(
        address="adi@warga.example", account="lapor@localhost", message_id="<1@warga.example>", references=("<0@x>",), subject="Lampu"
    )
    assert open_sealed(keys(), seal(keys(), contact)) == contact


def test_the_same_contact_is_sealed_differently_each_time() -> None:
    """Two boxes of the same address cannot be seen to be of the same person."""
    boxes = {seal(keys(), ADI) for _ in range(20)}
    assert len(boxes) == 20
    assert {open_sealed(keys(), box) for box in boxes} == {ADI}


def test_a_sealed_contact_shows_nothing_of_the_address() -> None:
    """Neither the base64 nor the bytes hold the digits."""
    box = seal(keys(), ADI)
    assert b"81200000001" not in base64.b64decode(box)
    assert "81200000001" not in box


def test_a_box_for_another_key_is_refused_as_such() -> None:
    """After a change of keys it is told apart from a broken box."""
    with pytest.raises(InvalidEvent) as error:
        open_sealed(keys(), seal(other_keys(), ADI))
    assert error.value.reason == "contact-other-key"


def test_a_service_without_the_private_key_cannot_open() -> None:
    """Adapters seal and cannot open."""
    with pytest.raises(InvalidEvent) as error:
        open_sealed(keys()._replace(contacts_private=None), seal(keys(), ADI))
    assert error.value.reason == "contact-no-key"


@pytest.mark.parametrize("place", [4, 20, 40, -1], ids=["first byte of the box", "ephemeral key", "text", "last byte"])
def test_a_box_that_was_tampered_with_is_refused(place: int) -> None:
    """One changed bit anywhere behind the key's id."""
    box = bytearray(seal_bytes(keys(), b"raw mail"))
    box[place] ^= 1
    with pytest.raises(InvalidEvent) as error:
        open_bytes(keys(), bytes(box))
    assert error.value.reason == "contact-broken"


@given(st.text(max_size=80))
def test_anything_else_is_refused_as_an_invalid_event(sealed: str) -> None:
    """A record with rubbish in it is a dead letter, never a crash of the sender."""
    with pytest.raises(InvalidEvent):
        open_sealed(keys(), sealed)


def test_a_box_that_holds_no_contact_is_refused() -> None:
    """Sealed raw mail is no contact."""
    with pytest.raises(InvalidEvent) as error:
        open_sealed(keys(), base64.b64encode(seal_bytes(keys(), b"no json")).decode())
    assert error.value.reason == "contact-broken"


def test_no_error_of_sealing_holds_the_address() -> None:
    """Errors are logged."""
    for given_keys in (other_keys(), keys()._replace(contacts_private=None)):
        with pytest.raises(InvalidEvent) as error:
            open_sealed(given_keys, seal(keys(), ADI))
        assert "81200000001" not in str(error.value)


def test_a_sender_key_recognises_the_person_and_says_nothing() -> None:
    """The same phone on SMS and call is one person; another person, kind or installation has another key."""
    adi = sender_key(keys(), "phone", "+6281200000001")
    assert sender_key(keys(), "phone", "+6281200000001") == adi
    others = {
        sender_key(keys(), "phone", "+6281200000002"),
        sender_key(keys(), "mail", "+6281200000001"),
        sender_key(other_keys(), "phone", "+6281200000001"),
    }
    assert adi not in others
    assert len(others) == 3
    assert "81200000001" not in adi


def test_a_mail_address_is_the_same_person_in_any_case() -> None:
    """Adi@Warga.example and adi@warga.example."""
    assert sender_key(keys(), "mail", "Adi@Warga.example") == sender_key(keys(), "mail", "adi@warga.example")


def test_conversations_are_apart_by_channel_account_address_and_thread() -> None:
    """An answer must never go to another account or thread."""
    parts = [("sms", "main", "+6281200000001", ""), ("email", "main", "+6281200000001", ""), ("sms", "other", "+6281200000001", ""),
             ("sms", "main", "+6281200000002", ""), ("email", "main", "+6281200000001", "t1")]  # fmt: skip
    assert len({conversation_key(keys(), *each) for each in parts}) == len(parts)
    assert conversation_key(keys(), *parts[0]) != sender_key(keys(), "phone", "+6281200000001")


def test_our_own_token_gives_its_number() -> None:
    """In any case: mail programs change it."""
    token = reply_token(keys(), number())
    assert number_in_token(keys(), token, "JK") == number()
    assert number_in_token(keys(), token.lower(), "JK") == number()


def test_a_token_is_short_enough_for_an_address() -> None:
    """RFC 5321 allows 64 octets before the @; `lapor+` is in front of it."""
    assert len("lapor+" + reply_token(keys(), number())) <= 64


@pytest.mark.parametrize(
    "forged",
    [
        pytest.param(lambda t: t[:-1] + ("0" if t[-1] != "0" else "1"), id="last character of the proof"),
        pytest.param(lambda t: number("2").replace("-", "") + t[t.index(".") :], id="another number with this proof"),
        pytest.param(lambda t: t.split(".")[0], id="no proof"),
        pytest.param(lambda t: t.split(".")[0] + ".", id="empty proof"),
        pytest.param(lambda t: t[:-1], id="shortened proof"),
        pytest.param(lambda t: t + "0", id="longer proof"),
        pytest.param(lambda t: "", id="empty"),
        pytest.param(lambda t: "JK.", id="prefix only"),
        pytest.param(lambda t: reply_token(other_keys(), number()), id="another installation"),
        pytest.param(lambda t: t.replace(".", ".é"), id="not ASCII"),
    ],
)
def test_a_forged_token_is_refused(forged: object) -> None:
    """Who knows a number still cannot write into its report."""
    token = forged(reply_token(keys(), number()))  # type: ignore[operator]
    with pytest.raises(InvalidInput) as error:
        number_in_token(keys(), token, "JK")
    assert error.value.field == "token"


@given(st.text(max_size=40))
def test_no_text_is_taken_for_a_token(text: str) -> None:
    """Guessing gives InvalidInput and nothing else."""
    with pytest.raises(InvalidInput):
        number_in_token(keys(), text, "JK")
