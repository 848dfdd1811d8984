"""Looking at dead letters and appending their originals again. What is shown is masked: an operator needs the cause, not the text."""

import base64
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from kanal import topics
from kanal.errors import InvalidEvent, SetupError
from kanal.events import DeadLetter
from kanal.journal import Journal, Record
from kanal.masking import mask
from kanal.records import TOO_LARGE_TO_KEEP, open_record, redriven

REDRIVE_RECORDS = 200
_AS_THEY_ARE = frozenset(
    """message_id sender_key conversation number reply_id action_id alias channel account kind action status agency category area row
    received_at asked_at routed_at requested_at settled_at updated_at sha256 path media_type language visibility by_role""".split()
)
"""Fields that Kanal itself fills with ids, codes and times; everything else may hold what somebody typed, and is masked."""


class Letter(NamedTuple):
    """A dead letter and its id."""

    letter_id: str
    letter: DeadLetter


def read_letters(journal: Journal, cause: str = "", ids: Sequence[str] = ()) -> Iterator[Letter]:
    """All dead letters that are kept, oldest first; of one cause, or those whose ids begin with one of `ids`."""
    seen: set[str] = set()
    for stored in journal.scan(topics.DEAD_LETTER):
        try:
            opened = open_record(stored)
        except InvalidEvent:
            continue
        letter = opened.event
        if not isinstance(letter, DeadLetter) or opened.event_id in seen or (cause and letter.cause != cause):
            continue
        if ids and not opened.event_id.startswith(tuple(ids)):
            continue
        seen.add(opened.event_id)
        yield Letter(opened.event_id, letter)


def listed(letters: Iterable[Letter]) -> Iterator[str]:
    """One line a letter: id, when, stage, cause, where it stood."""
    for letter_id, letter in letters:
        place = f"{letter.topic}/{letter.partition}@{letter.offset}" if letter.topic else "(refused at the door)"
        yield f"{letter_id[:12]}  {letter.died_at:%Y-%m-%d %H:%M:%S}  {letter.stage:<14}  {letter.cause:<22}  {place}"


def shown(letter: Letter) -> str:
    """One letter whole, masked: what can be read as JSON with its texts masked, else only its size."""
    fields: dict[str, Any] = {"id": letter.letter_id} | msgspec.to_builtins(letter.letter)
    original = base64.b64decode(fields.pop("value"))
    fields["original"] = f"{len(original)} sealed bytes" if letter.letter.sealed else _masked(original)
    return msgspec.json.format(msgspec.json.encode(fields), indent=2).decode()


def redrive(journal: Journal, letters: Iterable[Letter]) -> int:
    """Append the originals again, for the stage that set them aside only. Ids stay the same: a second redrive changes nothing.

    Input refused at the door has no stage to go to, and a contact may have been replaced since: both are skipped.
    *Raises:* SetupError when that was all there was.
    """
    batch: list[Record] = []
    count = skipped = 0
    for _, letter in letters:
        # An old contact would replace a newer one, or one forgotten.
        if not letter.topic or topics.TOPICS[letter.topic].compacted or letter.detail.startswith(TOO_LARGE_TO_KEEP):
            skipped += 1
            continue
        batch.append(redriven(letter))
        count += 1
        if len(batch) == REDRIVE_RECORDS:
            journal.append(batch)
            batch = []
    if batch:
        journal.append(batch)
    if skipped and not count:
        raise SetupError(f"{skipped} letters were refused at the door, are contacts or hold no original: they cannot be redriven")
    return count


def _masked(original: bytes) -> Any:
    try:
        return _mask_values(msgspec.json.decode(original))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return f"{len(original)} bytes that are no JSON"


def _mask_values(value: Any, name: str = "") -> Any:
    if isinstance(value, dict):
        return {mask(key): _mask_values(each, key) for key, each in value.items()}
    if isinstance(value, list):
        return [_mask_values(each) for each in value]
    if isinstance(value, str) and name not in _AS_THEY_ARE:
        return mask(value)[:400]
    return value
