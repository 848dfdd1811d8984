"""HTTP connections within limits: how many, and how long one may take for a request. Not here: what is answered (web.py).

uvicorn would keep a connection for ever that never finishes its first request.
"""

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

MAX_CHUNKS = 4_000
"""Of one body, counted by line ends. A chunk of one byte takes as long to read as one of 10,000."""


class LimitedHttp(H11Protocol):
    """One connection. Of uvicorn's configuration, `limit_concurrency` is one more than may be open, `timeout_keep_alive` the patience.

    For one connection too many the oldest makes room of those that keep us waiting.
    """

    _late: asyncio.TimerHandle | None = None
    _opened_at = 0.0
    _line_ends = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        assert self.config.limit_concurrency is not None
        if len(self.connections) >= self.config.limit_concurrency - 1:
            self._make_room()
        super().connection_made(transport)
        self._opened_at = self.loop.time()
        self._late = self.loop.call_later(self.timeout_keep_alive, transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.conn.their_state is h11.SEND_BODY and self._is_chunked():
            self._line_ends += data.count(b"\r\n")
        if self._line_ends > 2 * MAX_CHUNKS:
            self.transport.abort()
        else:
            super().data_received(data)

    def handle_events(self) -> None:
        """The time runs from the first byte of a request to its last; between requests uvicorn counts itself."""
        super().handle_events()
        begun = self.conn.their_state is h11.SEND_BODY or bool(self.conn.trailing_data[0])
        if not (self._waits() and begun):
            self._cancel()
        elif self._late is None:
            self._late = self.loop.call_later(self.timeout_keep_alive, self.transport.abort)

    def _is_chunked(self) -> bool:
        return any(name == b"transfer-encoding" for name, _value in self.headers)

    def _cancel(self) -> None:
        self._line_ends = 0
        if self._late is not None:
            self._late.cancel()
            self._late = None

    def _waits(self) -> bool:
        return self.conn.their_state in (h11.IDLE, h11.SEND_BODY)

    def _make_room(self) -> None:
        waiting = [each for each in self.connections if isinstance(each, LimitedHttp) and each._waits()]
        if waiting:
            oldest = min(waiting, key=lambda each: each._opened_at)
            self.connections.discard(oldest)  # its end is told later; until then uvicorn would refuse the newcomer
            oldest.transport.abort()
