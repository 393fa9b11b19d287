"""Which call of the user a request id belongs to, and ib_async's own log records named after it.

A record of ib_async that is about a request comes when its answer does, from the task that reads
the socket, so it gets the id of the call that sent the request. Not here: where ids are made
(`ibkit.log.correlated`).
"""

from __future__ import annotations

import logging
import re
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from ibkit.log import CALL, redact

if TYPE_CHECKING:
    from ib_async import IB

# requests that are remembered; an order may live longer, its journal entry has the id
KEPT: Final = 10_000
# a filter sees the records of its own logger only, never those of a child
LOGGERS: Final = tuple(f"ib_async.{name}" for name in ("ib", "client", "wrapper", "Decoder"))
FORMAT: Final = logging.Formatter()
ABOUT: Final = re.compile(r"\b(?:reqId|orderId)[ =](\d+)")


class Calls:
    """The calls behind the request and order ids of one connection.

    Parameters
    ----------
    ib : IB
        Its client's `getReqId` is replaced on this very object.
    """

    def __init__(self, ib: IB) -> None:
        self._by_id: dict[int, str] = {}
        self._new_id = ib.client.getReqId
        ib.client.getReqId = self._issue  # type: ignore[method-assign] # on this object only

    def of(self, request_id: int) -> str:
        """Return the id of the call that sent a request; empty if it is not known."""
        return self._by_id.get(request_id, "")

    def _issue(self) -> int:
        number = self._new_id()
        if call := CALL.get():
            self._by_id[number] = call
            if len(self._by_id) > KEPT:
                del self._by_id[next(iter(self._by_id))]
        return number


# of the connection whose socket is being read
READING: ContextVar[Calls | None] = ContextVar("ibkit_reading", default=None)


def read_for(calls: Calls) -> None:
    """Say that what runs in this context reads a connection's socket, for no call of its own."""
    CALL.set("")
    READING.set(calls)


class NameCall(logging.Filter):
    """Puts the call's id on each record, as ``record.call`` and in its text, and masks that."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass, named and masked; a second time changes nothing."""
        if "call" not in record.__dict__:
            text = record.getMessage()
            record.__dict__["call"] = call = CALL.get() or _call_of(text)
            named = f"{text} call={call}" if call else text
            record.msg, record.args = redact(named), None
            if record.exc_info and not record.exc_text:
                record.exc_text = redact(FORMAT.formatException(record.exc_info))
        return True


def _call_of(text: str) -> str:
    calls, about = READING.get(), ABOUT.search(text)
    return calls.of(int(about[1])) if calls is not None and about is not None else ""


def name_ib_async_records() -> None:
    """Have ib_async's records named; doing it again changes nothing."""
    for name in LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(each, NameCall) for each in logger.filters):
            logger.addFilter(NameCall())
