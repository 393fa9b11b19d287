"""Bars of options: several strikes of an underlying at once, and what is left of those expired.

An option is a series like any other (`history.bars` takes it), stored by underlying, see
`ibkit.store.options`. IB forgets an option's history when it expires, so what was stored before is
all there is: that is read without asking. Not here: which options there are (`contracts.chain`).
"""

from __future__ import annotations

import asyncio
from datetime import date, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Unpack
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
from ib_async import Contract

from ibkit import clock, naming
from ibkit.connection.loop import on_loop
from ibkit.errors import IbkitError, NeverAvailableError, UnknownSeriesError
from ibkit.history import legal
from ibkit.history.asking import ENDS_ALL
from ibkit.history.base import Base
from ibkit.history.outcomes import NO_DATA
from ibkit.history.series import USUAL, Query
from ibkit.history.spans import check_order, read_when
from ibkit.schema import bar_size as find_bar_size
from ibkit.store import options
from ibkit.store.resample import clock_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ibkit.connection.loop import Face
    from ibkit.contracts.resolver import ContractLike
    from ibkit.history.spans import When

AT_ONCE: Final = 4  # contracts that are asked about side by side
INSTEAD: Final = "what was stored before the expiry is kept, and read by history.bars()."


class OptionBars(Base):
    """`option_bars`, for `History`."""

    if TYPE_CHECKING:
        bars: Face[..., pd.DataFrame]

    @on_loop
    async def option_bars(
        self,
        underlying: ContractLike,
        expiry: str | date,
        strikes: float | Iterable[float],
        bar_size: str = "1 min",
        start: When = None,
        end: When = None,
        *,
        rights: str = "CP",
        trading_class: str = "",
        **query: Unpack[Query],
    ) -> pd.DataFrame:
        """Return bars of several options on one underlying, from the store first.

        Parameters
        ----------
        underlying : str or Contract
            ``"SPY"``, ``"IND:SPX@CBOE"``; a future (``"FUT:ES:202612"``) for options on it.
        expiry : str or date
            ``"20261218"``, ``"2026-12-18"``.
        strikes : float or iterable of float
            Which.
        bar_size, start, end, **query
            As of `bars`: also ``days``, ``what_to_show``, ``use_rth``.
        rights : {"CP", "C", "P"}
            Calls, puts or both.
        trading_class : str
            Where an expiry has several: ``"SPXW"``.

        Returns
        -------
        DataFrame
            Columns ``expiry strike right trading_class`` and those of `bars`; index ``ts``; by
            strike, right and time. ``attrs``: ``underlying``, ``bar_size``, ``simulated``, and
            ``failed``: the reasons of options that have no bars here.

        Raises
        ------
        NoDataError, NeverAvailableError, UnknownContractError, NoPermissionError
            None of them has any.

        Examples
        --------
        >>> bars = kit.history.option_bars("SPY", "20261218", [650], "1 hour", days=1, rights="C")
        >>> bars[["strike", "right"]].drop_duplicates().to_numpy().tolist()
        [[650.0, 'C']]
        """
        above = await self._contracts.contract.aio(underlying)
        wanted = _options(above, expiry, strikes, rights, trading_class)
        room, failed = asyncio.Semaphore(AT_ONCE), dict[str, IbkitError]()

        async def one(option: Contract) -> pd.DataFrame | None:
            async with room:
                try:
                    found = await self.bars.aio(option, bar_size, start, end, **query)
                except ENDS_ALL:
                    raise
                except IbkitError as error:
                    failed[naming.shorthand(option)] = error
                    return None
            return _with_terms(found)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(option)) for option in wanted]
        except* ENDS_ALL as several:
            raise several.exceptions[0] from None
        frames = [found for task in tasks if (found := task.result()) is not None]
        if not frames:
            raise next(iter(failed.values()))
        whole = pd.concat(frames)
        whole.attrs = {
            "underlying": naming.slug(above),
            "bar_size": bar_size,
            "simulated": self._link.simulated,
            "failed": {name: str(error).partition("\n")[0] for name, error in failed.items()},
        }
        return whole

    async def _of_expired(
        self, wanted: ContractLike, bar_size: str, span: tuple[When, When], query: Query
    ) -> pd.DataFrame | None:
        """Return the stored bars of an option that has expired; None: it is no such option.

        Raises
        ------
        NeverAvailableError
            Nothing of it is stored, and IB has nothing any more.
        """
        if isinstance(wanted, str) and not wanted.strip().startswith(("OPT:", "FOP:")):
            return None
        option = naming.parse(wanted) if isinstance(wanted, str) else wanted
        if option.secType not in {"OPT", "FOP"} or options.named(option) is None:
            return None
        gone = legal.never_before(option, find_bar_size(bar_size), clock.now())
        if gone is None or gone.until != legal.END:
            return None
        read = partial(self._read_expired, option, bar_size, span, query)
        found = await asyncio.to_thread(read)
        if found is None or found.empty:
            raise NeverAvailableError(NO_DATA, gone.reason, option, INSTEAD)
        found.attrs |= {"simulated": self._link.simulated, "expired": True}
        return found

    def _read_expired(
        self, option: Contract, bar_size: str, span: tuple[When, When], query: Query
    ) -> pd.DataFrame | None:
        first, last = read_when(span[0], "start"), read_when(span[1], "end")
        check_order(first, last)
        what = query.get("what_to_show") or USUAL.get(option.secType, "TRADES")
        use_rth, days = query.get("use_rth", True), query.get("days")
        zone = ZoneInfo(clock_of(option)[0])
        try:
            frame: pd.DataFrame = self._store.bars(
                option,
                bar_size,
                _midnight(first, zone),
                _midnight(last, zone, days=1),
                what_to_show=what,
                use_rth=use_rth,
            )
        except UnknownSeriesError:
            return None
        if first is not None or frame.empty:
            return frame
        dates = pd.DatetimeIndex(frame.index).tz_convert(zone).date
        kept = sorted(set(dates))[-(days or 1) :]
        return frame[[day in kept for day in dates]]


def _options(
    above: Contract,
    expiry: str | date,
    strikes: float | Iterable[float],
    rights: str,
    trading_class: str,
) -> list[Contract]:
    """Return the options that are meant, not yet looked up."""
    day = f"{expiry:%Y%m%d}" if isinstance(expiry, date) else str(expiry).replace("-", "")
    if len(day) != len("YYYYMMDD") or not day.isdigit():
        raise ValueError(f"expiry={expiry!r} is no day: write it as 20261218")
    if not rights or set(rights) - set("CP"):
        raise ValueError(f"rights={rights!r} is none of 'C', 'P' and 'CP'")
    try:
        several = [float(each) for each in np.atleast_1d(np.asarray(strikes, dtype=object))]
    except (TypeError, ValueError):
        several = [float("nan")]
    if not several:
        raise ValueError("no strike is named")
    if not all(0 < each < float("inf") for each in several):
        raise ValueError(f"strikes={strikes!r}: a strike is a price above zero, such as 650")
    on_future = above.secType == "FUT"
    return [
        Contract(
            secType="FOP" if on_future else "OPT",
            symbol=above.symbol,
            exchange=above.exchange if on_future else "SMART",
            currency=above.currency,
            lastTradeDateOrContractMonth=day,
            strike=float(strike),
            right=right,
            tradingClass=trading_class,
        )
        for strike in sorted(set(several))
        for right in dict.fromkeys(rights)
    ]


def _with_terms(found: pd.DataFrame) -> pd.DataFrame:
    """Return bars with what tells this option from the others before them."""
    terms = options.terms(naming.from_slug(found.attrs["instrument"]))
    names: Sequence[str] = list(found.columns)
    attrs, found.attrs = found.attrs, {}  # pandas compares them when frames are joined
    whole: pd.DataFrame = found.assign(**terms)[[*terms, *names]]
    found.attrs = attrs
    return whole


def _midnight(when: Any, zone: ZoneInfo, days: int = 0) -> datetime | None:
    """Return an instant as it is, and a date as its midnight at the exchange, so many days on."""
    if when is None or isinstance(when, datetime):
        return when
    day = when + timedelta(days=days)
    return datetime(day.year, day.month, day.day, tzinfo=zone)
