"""What companies did, as users and Wall Street Horizon tell it: dividends and splits. Pure.

Not here: what they do to prices (`ibkit.history.adjust`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from ibkit.errors import IbkitError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from datetime import date


class InvalidActionsError(IbkitError, ValueError):
    """A frame of dividends and splits that cannot be read: `why`."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why

    def __str__(self) -> str:
        return (
            f"The events cannot be used: {self.why}.\n"
            "Hint: columns day (the ex-day), kind ('dividend' or 'split'), and amount (money a "
            "share, as it was paid) or ratio (new shares for an old one)."
        )


@dataclass(frozen=True, slots=True)
class Action:
    """What a company did.

    Attributes
    ----------
    day : date
        The first trade date without the dividend, or in the new shares.
    amount : float
        Of a dividend: money for each share of that day.
    ratio : float
        Of a split: new shares for an old one.
    """

    day: date
    kind: Literal["dividend", "split"]
    amount: float = 0.0
    ratio: float = 1.0


def read_actions(frame: pd.DataFrame) -> list[Action]:
    """Return the dividends and splits of a frame: a user's, or of the dataset ``events``.

    Parameters
    ----------
    frame : DataFrame
        Columns ``day`` (or ``ts``), ``kind``, and ``amount`` or ``ratio``; the ratio of a split
        may stand in ``amount``, and does in the dataset. Other kinds are passed over.

    Raises
    ------
    InvalidActionsError
        A column is missing, or a number is no dividend or no split.
    """
    when = "day" if "day" in frame else "ts"
    missing = [name for name in (when, "kind") if name not in frame]
    if missing or not {"amount", "ratio"} & set(frame.columns):
        names = ", ".join(missing or ["amount or ratio"])
        raise InvalidActionsError(f"there is no column {names}")
    found = []
    for row in frame.to_dict("records"):
        if row["kind"] not in {"dividend", "split"}:
            continue
        split = row["kind"] == "split"
        told = row.get("ratio") if split and not pd.isna(row.get("ratio")) else row.get("amount")
        number = float("nan") if told is None else float(told)
        if not 0 < number < float("inf"):
            raise InvalidActionsError(f"a {row['kind']} of {number} on {row[when]}")
        try:
            day = pd.Timestamp(row[when])
        except (TypeError, ValueError):
            raise InvalidActionsError(f"{row[when]!r} is no day") from None
        if pd.isna(day):
            raise InvalidActionsError(f"a {row['kind']} has no day")
        value = {"ratio": number} if split else {"amount": number}
        found.append(Action(day.date(), row["kind"], **value))
    return sorted(found, key=lambda action: action.day)


def read_wsh(
    events: str | Iterable[Mapping[str, Any]], *, price_magnifier: int = 1
) -> pd.DataFrame:
    """Return the dividends and splits among Wall Street Horizon's events, for `read_actions`.

    Parameters
    ----------
    events : str or iterable of mapping
        As `getWshEventData` answers: JSON, or what it says.
    price_magnifier : int
        Of the contract's details, where prices are in cents or pence and dividends are not.

    Returns
    -------
    DataFrame
        ``day kind amount ratio``; what has no ex-day, or no number, is left out.

    Examples
    --------
    >>> data = {"ex_div_date": "20260209", "dividend_oc": 0.25}
    >>> read_wsh([{"event_type": "wshe_div", "data": data}])["amount"].tolist()
    [0.25]
    """
    listed = json.loads(events) if isinstance(events, str) else events
    rows = []
    for event in listed:
        data, kind = event.get("data", {}), event.get("event_type")
        day, row = data.get("ex_div_date") or data.get("ex_date"), {}
        if kind == "wshe_div" and data.get("dividend_oc"):
            row = {"kind": "dividend", "amount": float(data["dividend_oc"]) * price_magnifier}
        elif kind == "wshe_splits" and data.get("ratio"):
            new, _, old = str(data["ratio"]).partition(":")
            row = {"kind": "split", "ratio": float(new) / float(old or 1)}
        if row and day:
            rows.append({"day": pd.Timestamp(str(day)).date(), **row})
    return pd.DataFrame(rows, columns=["day", "kind", "amount", "ratio"])
