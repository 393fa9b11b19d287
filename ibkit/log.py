"""Structured logs, and the redaction of what must never leave the machine.

Not here: handlers. A library stays quiet until its user says `configure()`.
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

if TYPE_CHECKING:
    from structlog.stdlib import BoundLogger
    from structlog.typing import EventDict

# IB's account ids: U1234567, DU1234567, F1234567, DUSIM0001…
ACCOUNT: Final = re.compile(r"\b(DUSIM|D?[FUI])\d{3,}[A-Z]?\b")


def redact(text: str) -> str:
    """Return `text` with account ids and the user's home folder masked.

    Examples
    --------
    >>> redact("DU1234567 has no permission")
    'DU•••• has no permission'
    """
    masked = ACCOUNT.sub(r"\1••••", text)
    home = str(Path.home())
    return masked.replace(home, "~") if len(home) > 1 else masked


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
            structlog.processors.format_exc_info,
            _redact_values,
            _as_line,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    return logger


def _redact_values(_: Any, __: str, event: EventDict) -> EventDict:
    return {key: redact(value) if isinstance(value, str) else value for key, value in event.items()}


def _as_line(_: Any, __: str, event: EventDict) -> str:
    words = event.pop("event", "")
    return " ".join([str(words), *(f"{key}={value}" for key, value in event.items())])
