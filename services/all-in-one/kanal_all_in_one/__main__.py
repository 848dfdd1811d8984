"""The `kanal` command. `kanal --help` lists what it can do.

Each command imports what it needs when it runs: libraries take a second, in which `--help` and Ctrl-C must not wait.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kanal.errors import KanalError

if TYPE_CHECKING:
    from kanal.journal import Journal


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 when it did what it was asked, 1 with a sentence on standard error when not."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.run(options)
    except KanalError as error:
        print(f"kanal: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # what was begun has been cleared up
        return 130
    return code


def _up(_options: argparse.Namespace) -> int:
    from kanal.run import run
    from kanal.settings import load_settings
    from kanal_all_in_one.greeting import greet
    from kanal_all_in_one.service import build
    from kanal_all_in_one.settings import AllSettings

    settings = load_settings(AllSettings)
    return run("kanal", settings, partial(build, settings), partial(greet, settings))


def _demo(options: argparse.Namespace) -> int:
    from kanal_all_in_one.demo import run_demo

    return run_demo(options.minutes)


def _keys(_options: argparse.Namespace) -> int:
    from kanal.keys import make_keys
    from kanal.settings import Settings, load_settings

    directory = load_settings(Settings).keys_directory
    made = make_keys(directory)
    print(f"{'made' if made else 'there already'}: {directory}")
    return 0


def _topics(options: argparse.Namespace) -> int:
    from kanal.settings import Settings, load_settings
    from kanal_all_in_one.topic_setup import create_topics

    settings = load_settings(Settings)
    created = create_topics(settings.journal, settings.kafka_client, options.replication, options.in_sync)
    print(f"created: {', '.join(created)}" if created else "all topics are there")
    return 0


def _dead_letters(options: argparse.Namespace) -> int:
    from kanal_all_in_one import dead_letters

    journal = _opened_journal()
    letters = dead_letters.read_letters(journal, options.cause, options.ids)
    lines = (dead_letters.shown(letter) for letter in letters) if options.ids else dead_letters.listed(letters)
    count = 0
    for count, line in enumerate(lines, start=1):  # noqa: B007 (the last count is printed)
        print(line)
    print(f"{count} dead letters", file=sys.stderr)
    journal.close()
    return _found(options, count)


def _redrive(options: argparse.Namespace) -> int:
    from kanal_all_in_one import dead_letters

    if not options.ids and not options.cause:
        print("kanal: say which: ids, or --cause", file=sys.stderr)
        return 2
    journal = _opened_journal()
    count = dead_letters.redrive(journal, dead_letters.read_letters(journal, options.cause, options.ids))
    print(f"{count} records redriven")
    journal.close()
    return _found(options, count)


def _found(options: argparse.Namespace, count: int) -> int:
    if options.ids and not count:
        print("kanal: no dead letter has such an id", file=sys.stderr)
        return 1
    return 0


def _backup(options: argparse.Namespace) -> int:
    from kanal.settings import Settings, load_settings
    from kanal_all_in_one.backup import back_up

    manifest = back_up(load_settings(Settings), options.directory, with_keys=options.with_keys)
    size = sum(note.bytes for note in manifest.files.values())
    print(f"{options.directory}: {len(manifest.files)} files, {size} bytes, all that was acknowledged before {manifest.began_at:%F %T} UTC")
    print("the keys are in it: keep it as you keep them" if options.with_keys else "the keys are not in it: keep them elsewhere")
    return 0


def _restore(options: argparse.Namespace) -> int:
    from kanal.settings import Settings, load_settings
    from kanal_all_in_one.backup import restore

    restored = restore(load_settings(Settings), options.directory)
    print(f"restored what was acknowledged before {restored.began_at:%F %T} UTC; `kanal up` goes on from there")
    print(f"{restored.replies_waiting} replies were waiting then: those sent since go out once more")
    return 0


def _opened_journal() -> "Journal":
    """A person waits: what is wrong with Kafka is told at once."""
    from kanal.run import open_journal
    from kanal.settings import Settings, load_settings

    settings = load_settings(Settings)
    if settings.journal.startswith("kafka://"):
        from kanal.journal.kafka import check_access

        check_access(settings.journal, settings.kafka_client)
    return open_journal(settings)


def _rebuild(_options: argparse.Namespace) -> int:
    from kanal_tracker.rebuild import rebuild

    from kanal.run import opened
    from kanal.settings import Settings, load_settings

    settings = load_settings(Settings)
    with opened("rebuild", settings) as platform:
        print(f"{rebuild(platform.database, platform.journal, platform.pack)} events folded")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("kanal", description="A city's front door for citizens' reports. Settings come from the environment.")
    commands = parser.add_subparsers(required=True, metavar="command")
    _command(commands, "up", _up, "run everything in this process (embedded mode unless KANAL_JOURNAL names Kafka)")
    demo = _command(commands, "demo", _demo, "run everything, with simulated citizens and an agency that works their reports off")
    demo.add_argument("--minutes", type=float, default=0.0, help="stop after so long (default: until Ctrl-C)")
    _command(commands, "keys", _keys, "make the keys of an installation (embedded mode does it at its first start)")
    topics = _command(commands, "topics", _topics, "create the topics on Kafka that are missing")
    topics.add_argument("--replication", type=int, default=1, help="copies of each record (3 in production)")
    topics.add_argument("--in-sync", type=int, default=1, help="copies that must be written before an acknowledgement (2 in production)")
    letters = _command(commands, "dead-letters", _dead_letters, "list dead letters; with ids show them whole, masked")
    letters.add_argument("ids", nargs="*", help="ids, or their beginnings")
    letters.add_argument("--cause", default="", help="only of this cause")
    redrive = _command(commands, "redrive", _redrive, "append the originals of dead letters again")
    redrive.add_argument("ids", nargs="*", help="ids, or their beginnings")
    redrive.add_argument("--cause", default="", help="all of this cause")
    backup = _command(commands, "backup", _backup, "copy all data of an embedded Kanal, which may run")
    backup.add_argument("directory", type=Path, help="new directory of the backup")
    backup.add_argument("--with-keys", action="store_true", help="with the secret keys: whoever has this backup can read every address")
    restore = _command(commands, "restore", _restore, "put a backup into the empty data directory of an embedded Kanal that is stopped")
    restore.add_argument("directory", type=Path, help="directory of the backup")
    rebuild = _command(commands, "rebuild", _rebuild, "empty a view and fold it anew from the journal; stop the service first")
    rebuild.add_argument("view", choices=["tracker"])
    return parser


def _command(commands: Any, name: str, run_it: Callable[[argparse.Namespace], int], help_text: str) -> argparse.ArgumentParser:
    command: argparse.ArgumentParser = commands.add_parser(name, help=help_text, description=help_text)
    command.set_defaults(run=run_it)
    return command


if __name__ == "__main__":
    sys.exit(main())
