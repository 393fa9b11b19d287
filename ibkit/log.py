"""Structured logs, the id that ties the lines of one call together, and redaction.

Not here: handlers. A library stays quiet until its user says where its lines go.
"""

from __future__ import annotations

import logging
import re
import secrets
import sys
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from collections.abc import Iterator

    from structlog.stdlib import BoundLogger
    from structlog.typing import EventDict

# IB's account ids: U1234567, DU1234567, F1234567, DUSIM0001…
ACCOUNT: Final = re.compile(r"\b(DUSIM|D?[FUI])\d{3,}[A-Z]?\b")
# what opens one of our endpoints: in a URL, in a header
TOKEN: Final = re.compile(r"(\btoken=|\bbearer\s+)[\w.~+/-]{8,}=*", re.IGNORECASE)
PACKAGE: Final = str(Path(__file__).parent)
# the id of the outermost call that the running code serves; empty outside of any
CALL: ContextVar[str] = ContextVar("ibkit_call", default="")


@contextmanager
def correlated(name: str = "") -> Iterator[str]:
    """Give everything in the block one correlation id, unless it has one from around it.

    Every call of the kit does so by itself: a block of your own ties several calls together.

    Parameters
    ----------
    name : str
        The id; a fresh one by default.

    Yields
    ------
    str
        The id that holds: it stands as ``call=…`` in the log lines of ibkit and of ib_async, and
        in the audit entries of the order journal.

    Examples
    --------
    >>> with correlated("nightly") as outer, correlated() as inner:
    ...     outer, inner
    ('nightly', 'nightly')
    """
    if known := CALL.get():
        yield known
        return
    token = CALL.set(name or secrets.token_hex(5))
    try:
        yield CALL.get()
    finally:
        with suppress(ValueError):  # a coroutine that was dropped is closed in another context
            CALL.reset(token)


def redact(text: str) -> str:
    """Return `text` with account ids, tokens, the home folder and Python's own folders masked.

    Examples
    --------
    >>> redact("DU1234567 has no permission")
    'DU•••• has no permission'
    """
    masked = TOKEN.sub(r"\1••••", ACCOUNT.sub(r"\1••••", text))
    names = _folders(str(Path.home()), sys.prefix)
    return names[0].sub(lambda found: names[1][found[0]], masked)


def mask_account(account: str) -> str:
    """Return an account id of which only its owner knows which one it is.

    >>> mask_account("DU1234567")
    'DU••••567'
    """
    return f"{redact(account)}{account[-3:]}" if ACCOUNT.fullmatch(account) else redact(account)


@lru_cache(4)
def _folders(home: str, prefix: str) -> tuple[re.Pattern[str], dict[str, str]]:
    """Return what finds this machine's folders in a text, and what to say instead of each."""
    names = {PACKAGE: "<ibkit>", prefix: "<python>", home: "~"}
    names = {folder: name for folder, name in names.items() if len(folder) > 1}
    either = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
    return re.compile(rf"(?:{either})(?![\w-])"), names


class _LateLogger:
    """Stands for a logger until its first line: importing structlog costs 0.15 s."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        made = _make_logger(self._name)
        self.__dict__.update({each: getattr(made, each) for each in _METHODS})
        return getattr(made, attribute)


_METHODS: Final = ("bind", "debug", "info", "warning", "error", "exception", "critical")


def get_logger(name: str) -> BoundLogger:
    """Return the logger of a module; its lines reach whoever listens to stdlib logging."""
    return cast("BoundLogger", _LateLogger(name))


def _make_logger(name: str) -> BoundLogger:
    import structlog

    logger: BoundLogger = structlog.wrap_logger(
        logging.getLogger(name),
        processors=[
            structlog.contextvars.merge_contextvars,
            _name_call,
            structlog.processors.format_exc_info,
            _redact_values,
            _as_line,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    return logger


def _name_call(_: Any, __: str, event: EventDict) -> EventDict:
    """Say which call a line belongs to; last, where it disturbs nobody's reading."""
    call = CALL.get()
    if call and "call" not in event:
        event["call"] = call
    return event


def _redact_values(_: Any, __: str, event: EventDict) -> EventDict:
    return {key: _redacted(value) for key, value in event.items()}


def _redacted(value: Any) -> Any:
    """Return a value as it may be logged: what is no number becomes text in the line anyway."""
    if value is None or isinstance(value, bool | int | float):
        return value
    return redact(str(value))


def _as_line(_: Any, __: str, event: EventDict) -> tuple[tuple[str], dict[str, bool]]:
    """Return what logging gets: one line; the traceback is in it, so none is added unmasked."""
    words = event.pop("event", "")
    line = " ".join([str(words), *(f"{key}={value}" for key, value in event.items())])
    return (line,), {"exc_info": False}
