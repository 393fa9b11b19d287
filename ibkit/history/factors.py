"""Factors, events and closes in the store: what `ibkit.history.adjusting` reads and keeps there."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pandas as pd

from ibkit import naming
from ibkit.errors import UnknownSeriesError
from ibkit.history.actions import read_actions
from ibkit.history.base import Base
from ibkit.log import get_logger
from ibkit.schema import BAR_SIZES, FACTORS
from ibkit.store import adjusted as applied
from ibkit.store.resample import clock_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ib_async import Contract

    from ibkit.history.actions import Action
    from ibkit.history.adjust import Found, Merged

log = get_logger(__name__)
FOREVER: Final = (datetime(1900, 1, 2, tzinfo=UTC), datetime(2199, 12, 31, tzinfo=UTC))
SMALLEST_S: Final = 60  # of the stored bars that are compared with IB's of now
EVENT_KINDS: Final = ("dividend", "split")


class Factors(Base):
    """What the store knows of adjustments."""

    def read_factors(self, slug: str) -> pd.DataFrame:
        """Return the stored factors of an instrument, as `factors` does; asks nobody."""
        rows = self._store.read(FACTORS.name, slug)
        span = rows[rows["kind"] == applied.SPAN].iloc[0]
        names = ["day", "kind", "factor", "ratio", "amount", "close"]
        names += ["from_ib", "from_events", "basis", "since"]
        steps: pd.DataFrame = rows[rows["kind"] != applied.SPAN].sort_values(["ts", "kind"])
        frame = steps[names].reset_index(drop=True)
        frame.attrs = {
            "instrument": slug,
            "first": span["since"],
            "last": span["day"],
            "basis": span["basis"],
            "doubts": tuple(span["detail"].split("\n")) if span["detail"] else (),
            "simulated": self._store.kind == "sim",
        }
        return frame

    def _known(self, slug: str) -> tuple[applied.Factors, datetime] | None:
        """Return the stored factors and when they were stored."""
        try:
            rows = self._store.read(FACTORS.name, slug, as_="arrow")
        except UnknownSeriesError:
            return None
        if not rows.num_rows:
            return None
        at = max(rows["commit_id"].to_pylist()) / 1e6
        return applied.read_factors(slug, rows), datetime.fromtimestamp(at, UTC)

    def _reach(self, slug: str, start: date | None, usual: date) -> date:
        """Return the first day to look at: what is stored, known or asked for, and a year."""
        known = self._known(slug)
        wanted = [day for day in (start, known and known[0].first, usual) if day]
        zone = clock_of(naming.from_slug(slug))[0]
        for size in BAR_SIZES.values():
            if slug in self._store.instruments(size.dataset):
                first = self._store.history(size.dataset, slug)["first"].min()
                wanted += [first.tz_convert(zone).date()] if not pd.isna(first) else []
        return min(wanted)

    def _actions(self, slug: str) -> list[Action] | None:
        """Return the dividends and splits of the dataset ``events``; None: it has none."""
        try:
            rows = self._store.read("events", slug)
        except UnknownSeriesError:
            return None
        rows = rows[rows["kind"].isin(EVENT_KINDS)]
        if rows.empty:
            return None
        zone = clock_of(naming.from_slug(slug))[0]
        rows = rows.assign(day=rows["ts"].dt.tz_convert(zone).dt.date)
        return read_actions(rows[["day", "kind", "amount"]])

    def _keep_events(self, contract: Contract, slug: str, actions: Sequence[Action]) -> None:
        days = [applied.midnight(slug, action.day) for action in actions]
        rows = pd.DataFrame(
            {
                "ts": pd.to_datetime(days, unit="us", utc=True),
                "kind": [action.kind for action in actions],
                "event_key": [f"{action.kind}-{action.day}" for action in actions],
                "status": "CONFIRMED",
                "amount": [
                    action.ratio if action.kind == "split" else action.amount for action in actions
                ],
                "currency": contract.currency,
            }
        )
        source = "SIM:user" if self._store.kind == "sim" else "user"
        self._store.upsert("events", contract, rows, source=source, request="events of the user")

    def _keep_factors(
        self,
        contract: Contract,
        slug: str,
        merged: Merged,
        span: tuple[date, date],
        basis: str,
    ) -> None:
        """Put new factors in place of all old ones of an instrument."""
        for words in merged.doubts:
            log.warning("sources of a factor disagree", instrument=slug, step=words)
        rows = [_row(slug, *step) for step in merged.steps]
        rows.append(
            {
                "ts": applied.midnight(slug, span[1]),
                "kind": applied.SPAN,
                "day": span[1].isoformat(),
                "since": span[0].isoformat(),
                "factor": 1.0,
                "ratio": 1.0,
                "basis": basis,
                "detail": "\n".join(merged.doubts),
            }
        )
        frame = pd.DataFrame(rows)
        frame["ts"] = pd.to_datetime(frame["ts"], unit="us", utc=True)
        self._store.replace_range(
            FACTORS.name, contract, frame, *FOREVER, source=self._source, request=f"by {basis}"
        )

    def _stored_closes(self, slug: str, days: Sequence[date]) -> tuple[list[date], Any, list[date]]:
        """Return closes as they were stored, by trade date, and when that was."""
        found: tuple[list[date], list[float], list[date]] = ([], [], [])
        known = set(days)
        for size in BAR_SIZES.values():
            if not SMALLEST_S <= size.seconds <= 86_400:
                continue
            some = zip(*self._closes(slug, size.ib, use_rth=True), strict=True)
            for day, close, when in some:
                if day in known:
                    found[0].append(day)
                    found[1].append(float(close))
                    found[2].append(when)
        return found[0], np.array(found[1]), found[2]

    def _closes(
        self, slug: str, bar_size: str, *, use_rth: bool
    ) -> tuple[list[date], Any, list[date]]:
        """Return the last close of each day, and the exchange's date on which it was stored."""
        columns = ["close", "commit_id"]
        try:
            bars = self._store.bars(slug, bar_size, use_rth=use_rth, columns=columns)
        except UnknownSeriesError:
            return [], np.array([]), []
        if bars.empty:
            return [], np.array([]), []
        zone = clock_of(naming.from_slug(slug))[0]
        days = pd.DatetimeIndex(bars.index).tz_convert(zone).tz_localize(None).normalize()
        ends = np.append(np.flatnonzero(days[1:] != days[:-1]), len(days) - 1)
        last = bars.iloc[ends]
        when = pd.to_datetime(last["commit_id"].astype("int64"), unit="us", utc=True)
        committed = when.dt.tz_convert(zone).dt.date.tolist()
        return days[ends].date.tolist(), last["close"].to_numpy(), committed


def _row(
    slug: str, used: Found, ib: Found | None, event: Found | None, basis: str
) -> dict[str, Any]:
    return {
        "ts": applied.midnight(slug, used.day),
        "kind": used.kind,
        "day": used.day.isoformat(),
        "since": used.since.isoformat() if used.since < used.day else None,
        "factor": used.factor,
        "ratio": used.ratio,
        "amount": used.amount,
        "close": used.close,
        "from_ib": ib.factor if ib else None,
        "from_events": event.factor if event else None,
        "basis": basis,
    }
