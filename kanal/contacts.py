"""Who sent a message, without saying who: sender keys, conversations, sealed addresses, reply tokens."""

import base64
import hashlib
import hmac

import msgspec
from nacl.exceptions import CryptoError
from nacl.public import PrivateKey, PublicKey, SealedBox

from kanal.errors import InvalidEvent, InvalidInput
from kanal.ids import keyed_id
from kanal.keys import Keys

KEY_ID_BYTES = 4
TOKEN_CHARACTERS = 10


class Contact(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a sender needs to answer; exists outside senders only sealed."""

    address: str
    """A mail address, or an E.164 phone number."""
    account: str = ""
    """The city's account to answer from."""
    message_id: str = ""
    """Mail: the citizen's newest Message-ID in this conversation."""
    references: tuple[str, ...] = ()
    subject: str = ""


def sender_key(keys: Keys, kind: str, address: str) -> str:
    """Recognises the same person: `kind` is "phone" (E.164; SMS, WhatsApp, call and desk share it) or "mail"."""
    return keyed_id(keys.sender, "sender", kind, address.casefold())


def conversation_key(keys: Keys, channel: str, account: str, address: str, thread: str = "") -> str:
    """Where an answer goes: one per address and account, and on mail per thread."""
    return keyed_id(keys.sender, "conversation", channel, account, address.casefold(), thread)


def seal(keys: Keys, contact: Contact) -> str:
    """Base64: four bytes that name the key, then a libsodium sealed box. Only who has the private key can open it."""
    return base64.b64encode(seal_bytes(keys, msgspec.json.encode(contact))).decode()


def seal_bytes(keys: Keys, content: bytes) -> bytes:
    """The same for any bytes: raw mail, input that could not be read."""
    return _key_id(keys.contacts_public) + SealedBox(PublicKey(keys.contacts_public)).encrypt(content)


def open_sealed(keys: Keys, sealed: str) -> Contact:
    """*Raises:* InvalidEvent when it was sealed for another key or is broken."""
    try:
        return msgspec.json.decode(open_bytes(keys, base64.b64decode(sealed)), type=Contact)
    except (ValueError, msgspec.DecodeError):  # no base64, or not even ASCII
        raise InvalidEvent("a sealed contact cannot be read", reason="contact-broken") from None


def open_bytes(keys: Keys, content: bytes) -> bytes:
    """*Raises:* InvalidEvent."""
    if keys.contacts_private is None:
        raise InvalidEvent("this service has no key to open contacts", reason="contact-no-key")
    if content[:KEY_ID_BYTES] != _key_id(keys.contacts_public):
        raise InvalidEvent("the contact was sealed for another key", reason="contact-other-key")
    try:
        return SealedBox(PrivateKey(keys.contacts_private)).decrypt(content[KEY_ID_BYTES:])
    except CryptoError:
        raise InvalidEvent("a sealed contact cannot be opened", reason="contact-broken") from None


def reply_token(keys: Keys, number: str) -> str:
    """`JK7F3Q9K2M4XPT.3a9f0c12de`: a number with a proof that we wrote it; goes into reply addresses and Message-IDs."""
    compact = number.replace("-", "")
    return f"{compact}.{_proof(keys, compact)}"


def number_in_token(keys: Keys, token: str, prefix: str) -> str:
    """The number in a token of ours. *Raises:* InvalidInput("token", …) when it is not ours."""
    compact, _, proof = token.partition(".")
    compact = compact.upper()
    if not compact.startswith(prefix) or not hmac.compare_digest(proof.lower().encode(), _proof(keys, compact).encode()):
        raise InvalidInput("token", "was not made by this installation")
    symbols = compact[len(prefix) :]
    return f"{prefix}-{symbols[:4]}-{symbols[4:8]}-{symbols[8:]}"


def _proof(keys: Keys, compact: str) -> str:
    return keyed_id(keys.token, "reply", compact)[:TOKEN_CHARACTERS]


def _key_id(public: bytes) -> bytes:
    return hashlib.sha256(public).digest()[:KEY_ID_BYTES]
