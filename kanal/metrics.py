"""Every metric of Kanal: kind, unit, and what to do when it rises. No label ever holds personal data; label values are bounded."""

from prometheus_client import Counter, Gauge, Histogram

STAGE_MESSAGES = Counter(
    "kanal_stage_messages", "Records handled by a stage, by outcome. Falling to zero under load: see stage errors.", ["stage", "outcome"]
)
STAGE_BATCH_SECONDS = Histogram(
    "kanal_stage_batch_seconds",
    "Seconds from a batch in hand to its outputs appended. Rising: the database, the disk or the journal is slow.",
    ["stage"],
    buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10),
)
STAGE_REPEATS = Counter(
    "kanal_stage_repeats", "Records dropped because their id was applied before. Normal after a crash or a resend.", ["stage"]
)
STAGE_RETRIES = Counter("kanal_stage_retries", "Turns that failed for a passing reason and are tried again.", ["stage", "reason"])
PRODUCERS_REPLACED = Counter(
    "kanal_producers_replaced",
    "Kafka clients replaced because a record stayed unacknowledged for a minute or the client gave up. Normal while Kafka is away.",
)
CONSUMERS_REPLACED = Counter(
    "kanal_consumers_replaced",
    "Kafka clients replaced because their group was out of reach, though Kafka answered others. Now and then after an outage is normal.",
)
STAGE_BEHIND_SECONDS = Gauge(
    "kanal_stage_behind_seconds", "Age of the newest record that a stage committed when it did so. Rising: add processes.", ["stage"]
)
DEAD_LETTERS = Counter(
    "kanal_dead_letters", "Records set aside. Look with `kanal dead-letters`, mend the cause, then `kanal redrive`.", ["stage", "cause"]
)
DEAD_LETTER_ALARM = Gauge(
    "kanal_dead_letter_alarm", "1 while ten dead letters came in a row: something systematic is wrong, wake somebody.", ["stage"]
)
INTAKE = Counter(
    "kanal_intake", "Answers given to the outside by an adapter, by kind. refused and later rising: see its log.", ["channel", "answer"]
)
INTAKE_SECONDS = Histogram(
    "kanal_intake_seconds",
    "Seconds from input to acknowledgement. Rising: the journal is slow.",
    ["channel"],
    buckets=(0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10),
)
REPLIES = Counter("kanal_replies", "Replies settled, by outcome. failed rising: the relay or the gateway refuses.", ["channel", "outcome"])
REPLY_REPEATS = Counter(
    "kanal_reply_repeats", "Replies sent once more because a crash hid the answer: a citizen may have read one twice.", ["channel"]
)
REPLIES_WAITING = Gauge("kanal_replies_waiting", "Replies not yet sent. Rising: relay or gateway away or too slow.", ["channel"])
SPOOLED = Gauge(
    "kanal_spooled", "Messages in the local queue while the journal is away. Above 0 for minutes: mend the journal.", ["service"]
)
