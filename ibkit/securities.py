"""Numbers of securities: which kind one is, and its check digit. Pure."""

from __future__ import annotations

import re
from typing import Literal

_ISIN = re.compile(r"[A-Z]{2}[A-Z0-9]{9}[0-9]$", re.ASCII)
_CUSIP = re.compile(r"[A-Z0-9]{8}[0-9]$", re.ASCII)


def number_kind(number: str) -> Literal["ISIN", "CUSIP", ""]:
    """Return what a number looks like; nothing, if like neither.

    >>> number_kind("US912810TM09"), number_kind("912810TM0"), number_kind("AAPL")
    ('ISIN', 'CUSIP', '')
    """
    return "ISIN" if _ISIN.match(number) else "CUSIP" if _CUSIP.match(number) else ""


def check_digit(number: str, kind: str) -> str:
    """Return what the last digit of an ISIN or a CUSIP has to be."""
    values = [int(each, 36) for each in number[:-1]]
    if kind == "ISIN":  # the letters become two digits each, every second one from the right twice
        digits = [int(digit) for value in values for digit in str(value)][::-1]
        doubled = [digit * (2 - place % 2) for place, digit in enumerate(digits)]
    else:
        doubled = [value * (1 + place % 2) for place, value in enumerate(values)]
    return str(-sum(value // 10 + value % 10 for value in doubled) % 10)
