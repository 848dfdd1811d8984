"""Every error of Kanal, by what the caller does with it. No message, attribute or cause ever carries personal data.

KanalError
├── InvalidInput        the outside sent something that cannot be taken: tell it which field and rule (4xx, 5xx SMTP)
├── InvalidEvent        a record that no retry can mend: dead letter, neighbours go on
├── RecordTooLarge      a record over the journal's limit: refused before anything is written
├── NewerEvent          an event of a newer major version: stop, the order of deployment was wrong
├── TemporaryFailure    try again later, nothing was lost; do not acknowledge
│   ├── JournalAway     the journal does not acknowledge
│   ├── SpoolFull       the journal is away and the local queue is full too
│   └── DatabaseAway    the database does not answer or refuses to write
├── Fenced              another member owns the partition now: roll back, join again
├── OffsetsRefused      stored offsets do not belong to this journal: refuse to start
└── SetupError          a setting, key, pack or file is wrong: refuse to start and say which

Raised where they are defined: `kanal.sending.Undeliverable` (a reply that this channel can never deliver), `kanal.sending.AnswerLost`
(a TemporaryFailure after which a reply may go out twice), `kanal.web.HttpError` (an answer other than success).
"""


class KanalError(Exception):
    """Something that Kanal knows how to answer. `reason` is a bounded code, fit for a metric label."""

    def __init__(self, message: str = "", *, reason: str = "") -> None:
        super().__init__(message or (type(self).__doc__ or "").split(".")[0])
        self.reason = reason or type(self).__name__


class InvalidInput(KanalError):
    """Input from outside cannot be taken. `field` names what is wrong and `rule` says which rule it breaks."""

    def __init__(self, field: str, rule: str) -> None:
        super().__init__(f"{field}: {rule}", reason=f"invalid-{field}")
        self.field = field
        self.rule = rule


class InvalidEvent(KanalError):
    """A record cannot be understood, however often it is tried."""


class RecordTooLarge(KanalError):
    """A record is larger than the journal takes (1 MiB with its headers)."""


class NewerEvent(KanalError):
    """An event of a newer major version arrived: upgrade the readers before the writers."""


class TemporaryFailure(KanalError):
    """Nothing was lost and nothing was acknowledged; try again later."""


class JournalAway(TemporaryFailure):
    """The journal did not acknowledge in time. What was appended may still land: repeats are dropped by id."""


class SpoolFull(TemporaryFailure):
    """The journal is away and the local queue in front of it is full."""


class DatabaseAway(TemporaryFailure):
    """The database did not answer, or could not write."""


class Fenced(KanalError):
    """Another member owns the partition now; what was being done here was rolled back."""


class OffsetsRefused(KanalError):
    """Stored offsets do not fit this journal: it is another one, was restored to an older state, or has expired."""


class SetupError(KanalError):
    """A setting, a key, a file of the pack or the machine is not as it must be."""
