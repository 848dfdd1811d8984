"""Lanes: a few threads that do the same with many things at once and tell as each is done.

Not `concurrent.futures`: its threads are waited for at the end of the process, and a gateway that hangs must not hold up a stop.
"""

import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from queue import SimpleQueue
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Lanes(Generic[T, R]):
    """`count` daemon threads, there until the process ends."""

    def __init__(self, name: str, count: int) -> None:
        self._todo: SimpleQueue[Callable[[], None]] = SimpleQueue()
        for lane in range(count):
            threading.Thread(target=self._run, name=f"{name}-{lane}", daemon=True).start()

    def run(self, work: Callable[[T], R], things: Sequence[T]) -> Iterator[list[R]]:
        """The results of `work` as they come, all that are there at a time. *Raises:* what `work` raised."""
        done: SimpleQueue[R | _Failure] = SimpleQueue()
        for thing in things:
            self._todo.put(partial(_do, work, thing, done))
        left = len(things)
        while left:
            found = [done.get()]
            while not done.empty():
                found.append(done.get())
            left -= len(found)
            yield [_unless_failed(each) for each in found]

    def _run(self) -> None:
        while True:
            self._todo.get()()


class _Failure:
    def __init__(self, error: BaseException) -> None:
        self.error = error


def _do(work: Callable[[T], R], thing: T, done: "SimpleQueue[R | _Failure]") -> None:
    try:
        done.put(work(thing))
    except BaseException as error:
        done.put(_Failure(error))


def _unless_failed(result: "R | _Failure") -> R:
    if isinstance(result, _Failure):
        raise result.error
    return result
