"""Futures as the user asks for them: `kit.contracts.spec`, `roll_calendar`, `roll_spread`, ...

A mixin of `Contracts`. The futures table serves where IB is silent; where IB speaks, its values
win and what differs is reported. Not here: the rules themselves (`ibkit.contracts.rolls`,
`ibkit.contracts.expiry`), and the front month of a shorthand (`ibkit.contracts.resolver`).
"""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any, Final, cast

import pandas as pd
from ib_async import ComboLeg, Contract, ContractDetails, Future

from ibkit import clock, naming
from ibkit.connection.asks import ask_for
from ibkit.connection.loop import on_loop
from ibkit.contracts.differing import DIFFERENCES, differences, joined, row_of, with_ibs
from ibkit.contracts.futures import Listed, front_month, to_listed
from ibkit.contracts.hours import last_day, trade_date
from ibkit.contracts.rolls import (
    RollRule,
    RollRuleError,
    lives,
    make_rule,
    roll_calendar,
    roll_day,
)
from ibkit.contracts.specs import FutureSpec, find_spec, load_specs, share_symbol, spec_of
from ibkit.errors import (
    ExpiredContractError,
    IbkitError,
    NoDataError,
    NotConnectedError,
    RequestTimeoutError,
    UnknownContractError,
)
from ibkit.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from ib_async import BarDataList

    from ibkit.connection import Link
    from ibkit.connection.loop import LoopThread
    from ibkit.contracts.overrides import Overrides

VOLUME_DAYS: Final = 30
NEAREST: Final = 4  # whose volumes are compared
YEAR_DAYS: Final = 366
PAIR_DAYS: Final = 120  # of volumes that a roll calendar asks for, up to a contract's end
log = get_logger(__name__)


class NotAFutureError(IbkitError, ValueError):
    """A name that is no futures product of the table, or of several: `name`, `roots`."""

    def __init__(self, name: str, roots: tuple[str, ...] = ()) -> None:
        super().__init__(name, roots)
        self.name, self.roots = name, roots

    def __str__(self) -> str:
        if self.roots:
            return (
                f"{self.name!r} is IB's symbol of several products; name the root: "
                f"{', '.join(self.roots)}."
            )
        return (
            f"{self.name!r} is no product of the futures table; name a root ('ES', 'FUT:ES').\n"
            "Hint: ibkit.contracts.specs.load_specs() lists them; [futures.<root>] of "
            "contracts.toml changes them."
        )


class Rolling:
    """What is fixed about a future, and when it rolls. A part of `Contracts`."""

    _loop: LoopThread
    _link: Link
    _overrides: Overrides
    _roll_days: int
    _told: set[str]  # products whose differences from the table have been looked for

    if TYPE_CHECKING:

        async def _answers(
            self, description: Contract, *, max_age_days: float | None = None
        ) -> list[ContractDetails]: ...

    @on_loop
    async def spec(self, wanted: str | Contract) -> FutureSpec:
        """Return what is fixed about a futures product: ticks, multiplier, months, rules.

        Parameters
        ----------
        wanted : str or Contract
            A root (``"ES"``), a shorthand (``"FUT:ES"``), or a contract.

        Returns
        -------
        FutureSpec
            The table's row, with what the user overrides and, above that, IB's own values. Its
            `note` says what IB changed, and what was overridden.

        Raises
        ------
        NotAFutureError
            The table has no such product, or several of that symbol.

        Notes
        -----
        Costs a `reqContractDetails`; without a connection, the table answers alone. Where IB's
        ticks differ from month to month (ZQ, SR3), those of the front month are told.
        """
        spec = self._row(wanted)
        listed = await self._listed_or_none(spec)
        if not listed:
            return spec
        by_days = replace(self.roll_rule(spec.symbol), rule="days")
        front = front_month(listed, clock.now().date(), rule=by_days) or listed[0]
        return with_ibs(spec, front.details)

    @on_loop
    async def check_specs(self, *wanted: str | Contract) -> pd.DataFrame:
        """Return where IB differs from the futures table, as one row a difference.

        Parameters
        ----------
        *wanted : str or Contract
            Products, as for `spec`; none: the whole table, at one request each.

        Returns
        -------
        DataFrame
            ``instrument field table ib``; no row: they agree. Expiries are compared for every
            contract that IB lists; a product of which it lists none has a row ``listing``.
        """
        rows: list[dict[str, str]] = []
        for one in wanted or load_specs():
            spec = self._row(one)
            listed = await self._listed_or_none(spec)
            if not listed:
                rows.append({**row_of(spec), "field": "listing", "table": "yes", "ib": "none"})
            for each in listed:
                rows += differences(spec, each)
        frame = pd.DataFrame(rows, columns=list(DIFFERENCES)).astype(DIFFERENCES)
        return frame.drop_duplicates(ignore_index=True)

    @on_loop
    async def roll_calendar(
        self,
        wanted: str | Contract,
        start: date | str,
        end: date | str | None = None,
        *,
        rule: RollRule | str | None = None,
        volumes: pd.DataFrame | None = None,
    ) -> pd.DataFrame:
        """Return when each contract of a product gives way to the next.

        Parameters
        ----------
        wanted : str or Contract
            The product, as for `spec`.
        start, end : date or str
            Which contracts: those that expire between them; `end` defaults to a year after today.
        rule : RollRule or str, optional
            Instead of the product's (``[roll.<root>]`` of contracts.toml; else eight calendar
            days before the last safe day); ``"volume"`` is the product's, but by volume.
        volumes : DataFrame, optional
            For rules by volume or open interest: dates by contract months (``"202612"``). Without
            it IB is asked for the volumes, one request a contract that has traded; IB's history
            has no open interest.

        Returns
        -------
        DataFrame
            As `ibkit.contracts.rolls.roll_calendar`; `source` says whether IB or the table told
            the expiry. IB knows contracts of the last two years.

        Raises
        ------
        NotAFutureError, RollRuleError
            No such product; a rule by open interest without volumes.
        """
        spec = self._row(wanted)
        rule = self._meant(spec, rule)
        first = trade_date(start, "start")
        until = trade_date(end, "end") if end else clock.now().date() + timedelta(days=365)
        if until < first:
            raise RollRuleError(f"the calendar would end ({until}) before it starts ({first})")
        known = {life.month: life for life in lives(spec, first, until, rule.months)}
        over = first < clock.now().date()
        told = {
            each.life.month: each
            for each in await self._listed_or_none(spec, expired=over)
            if each.life.month in known
        }
        known |= {month: each.life for month, each in told.items()}
        if rule.rule == "volume" and volumes is None:
            volumes = await self._volumes_of(told.values())
        frame = roll_calendar(known.values(), spec.calendar, rule, volumes)
        frame.attrs["instrument"] = f"FUT:{spec.symbol}"
        return frame

    @on_loop
    async def front(
        self,
        wanted: str | Contract,
        as_of: date | str | None = None,
        *,
        rule: RollRule | str | None = None,
    ) -> Contract:
        """Return the front month on a day, by the product's roll rule or by `rule`.

        Arguments and errors as `roll_calendar`. By volume, the daily volumes of the nearest
        months are asked for: one historical request for each of four contracts. Of a day that is
        over, the contract that was the front month then, for as long as IB knows it: two years.

        Raises
        ------
        ExpiredContractError
            IB does not tell of the contract of that day any more.
        """
        spec = self._row(wanted)
        rule = self._meant(spec, rule)
        today = clock.now().date()
        day = trade_date(as_of, "as_of") if as_of else today
        every = await self._listed(spec, expired=day < today)
        if day < today:
            _check_reach(spec, rule, day, every)
        volumes = await self._volumes(every, rule, day)
        found = front_month(every, day, rule=rule, volumes=volumes)
        if found is None:
            raise UnknownContractError(200, f"no contract is left on {day}", _template(spec))
        return _of(found.details)

    @on_loop
    async def roll_spread(self, wanted: str | Contract, near: str = "", far: str = "") -> Contract:
        """Return the calendar spread that rolls a long position: bought, it sells near, buys far.

        Parameters
        ----------
        wanted : str or Contract
            The product, as for `spec`; with a month (``"FUT:ES:202612"``), that is `near`.
        near, far : str, optional
            Contract months (``"202612"``). The front month and the one after it that the roll
            rule knows. On the day of the roll the front month is the next one already: who still
            holds the old one names it.

        Returns
        -------
        Contract
            A ``BAG`` of two legs, ready for an order: BUY rolls a long position, SELL a short one.
            Its price is far less near.

        Raises
        ------
        UnknownContractError
            IB lists no such month.
        RollRuleError
            `far` does not expire after `near`; two different months are named as `near`.
        """
        spec = self._row(wanted)
        near = _near_month(wanted, near)
        every = sorted(await self._listed(spec), key=lambda each: each.expiry)
        today = clock.now().date()
        rule = self.roll_rule(spec.symbol)
        first: Listed | None
        if near:
            first = _month(every, near, spec)
        else:
            volumes = await self._volumes(every, rule, today)
            first = front_month(every, today, rule=rule, volumes=volumes)
        later = [each for each in every if first and each.expiry > first.expiry]
        usual = [each for each in later if rolls_through(each, rule)] or later
        second = _month(every, far, spec) if far else next(iter(usual), None)
        if first is None or second is None:
            raise UnknownContractError(200, "no two contracts are left to spread", _template(spec))
        if second.expiry <= first.expiry:
            raise RollRuleError(f"far ({far}) must expire after near ({first.life.month})")
        return _bag(_of(first.details), _of(second.details))

    def roll_rule(self, root: str) -> RollRule:
        """Return when the contracts of a root roll; its repr says what the user overrides."""
        said = self._overrides.roll_rule(root)
        note = self._overrides.words("roll", root) or self._overrides.words("roll", "default")
        return make_rule(said, note, days=self._roll_days)

    def _meant(self, spec: FutureSpec, rule: RollRule | str | None) -> RollRule:
        """Return the rule that is meant: one of its own, the product's, or that by a name."""
        if isinstance(rule, RollRule):
            return rule
        usual = self.roll_rule(spec.symbol)
        return replace(usual, rule=cast("Any", rule)) if rule else usual

    def _row(self, wanted: str | Contract) -> FutureSpec:
        """Return the table's row of a product, with what the user overrides."""
        one = wanted
        if isinstance(one, str):
            one = naming.parse(one) if ":" in one else Future(one)
        if not isinstance(one, Contract):
            raise NotAFutureError(repr(wanted))
        name = wanted if isinstance(wanted, str) else naming.shorthand(one)
        what = {
            "exchange": one.exchange,
            "trading_class": one.tradingClass,
            "multiplier": "" if one.tradingClass else one.multiplier,
        }
        found = find_spec(one.symbol, **what)
        if found is None or one.secType not in {"FUT", "CONTFUT"}:
            raise NotAFutureError(name)
        if roots := share_symbol(one.symbol, **what):
            raise NotAFutureError(name, roots)
        said = self._overrides.spec(found.symbol)
        words = self._overrides.words("futures", found.symbol)
        return replace(found, **said, note=joined(found.note, words)) if said else found

    async def _front_of(self, matches: list[ContractDetails], as_of: date) -> Listed | None:
        """Return the front month among the contracts of one product, by its roll rule."""
        if not matches:
            return None
        one = _of(matches[0])
        spec = spec_of(one)
        rule = self.roll_rule(spec.symbol if spec else one.symbol)
        listed = [to_listed(each, spec) for each in matches]
        volumes = await self._volumes(listed, rule, as_of)
        found = front_month(listed, as_of, rule=rule, volumes=volumes)
        if spec and found and spec.symbol not in self._told:
            self._told.add(spec.symbol)
            with_ibs(spec, found.details)  # says what differs
        return found

    async def _listed(self, spec: FutureSpec, *, expired: bool = False) -> list[Listed]:
        """Return the contracts of a product that IB lists; if need be, with those of two years."""
        asked = _template(spec)
        asked.includeExpired = expired
        found = await self._answers(asked)
        if not found:
            raise UnknownContractError(200, "no listed instrument fits", asked)
        return [to_listed(each, spec) for each in found]

    async def _listed_or_none(self, spec: FutureSpec, *, expired: bool = False) -> list[Listed]:
        try:
            return await self._listed(spec, expired=expired)
        except (NotConnectedError, RequestTimeoutError, UnknownContractError) as error:
            log.warning(
                "IB lists no contracts: the table answers", root=spec.symbol, error=str(error)
            )
            return []

    async def _volumes(
        self, listed: Iterable[Listed], rule: RollRule, as_of: date
    ) -> pd.DataFrame | None:
        """Return daily volumes of the nearest months, if the rule looks at them."""
        if rule.rule == "days":
            return None
        if rule.rule != "volume":
            raise RollRuleError(
                f"a front month by {rule.rule} needs numbers that IB's history does not have; "
                "give them to roll_calendar(volumes=...)"
            )
        alive = sorted((each for each in listed if each.expiry >= as_of), key=lambda e: e.expiry)
        wanted = [each for each in alive if rolls_through(each, rule)]
        columns = {}
        for each in wanted[:NEAREST]:
            columns[each.life.month] = await self._daily_volume(_of(each.details), as_of)
        frame = pd.DataFrame(columns).sort_index()
        return frame[frame.index < pd.Timestamp(as_of)]

    async def _volumes_of(self, listed: Iterable[Listed]) -> pd.DataFrame:
        """Return the daily volumes of contracts until each of them ended, today's left out."""
        today = clock.now().date()
        columns = {}
        for each in sorted(listed, key=lambda one: one.expiry):
            end = min(each.expiry + timedelta(days=1), today)
            bars = await self._daily_volume(_of(each.details), end, days=PAIR_DAYS)
            columns[each.life.month] = bars
            if each.expiry > today + timedelta(days=PAIR_DAYS):
                break  # nothing of what follows rolls before there are volumes of it
        frame = pd.DataFrame(columns).sort_index()
        return frame[frame.index < pd.Timestamp(today)]

    async def _daily_volume(
        self, contract: Contract, as_of: date, *, days: int = VOLUME_DAYS
    ) -> pd.Series[float]:
        """Return what was traded each day; nothing, if IB has no data of the contract."""
        today = clock.now().date()
        end = "" if as_of >= today else f"{as_of:%Y%m%d}-00:00:00"
        if (last_day(contract) or today) < today:
            contract = replace(contract, includeExpired=True)
        wanted = contract, end, f"{days} D", "1 day", "TRADES", False, 2
        try:
            bars: BarDataList = await self._link.request(
                "daily volumes",
                lambda ib: ib.reqHistoricalDataAsync(*wanted, timeout=0),
                contract=contract,
                ask=ask_for("reqHistoricalData", *wanted),
            )
        except NoDataError as error:
            log.warning("no volumes", contract=contract.localSymbol, error=str(error))
            return pd.Series(dtype=float, index=pd.DatetimeIndex([]))
        index = pd.DatetimeIndex([pd.Timestamp(each.date).normalize() for each in bars])
        return pd.Series([float(each.volume) for each in bars], index=index.tz_localize(None))


def rolls_through(listed: Listed, rule: RollRule) -> bool:
    """Whether a contract is one of those that a position is rolled through."""
    return listed.month[1] in rule.months if rule.months else listed.liquid


def _check_reach(spec: FutureSpec, rule: RollRule, day: date, every: Sequence[Listed]) -> None:
    """Refuse a day whose contract IB does not tell of any more, rather than name a later one."""
    oldest = min(each.expiry for each in every)
    calendar_rule = replace(rule, rule="days")
    for life in lives(spec, day, day + timedelta(days=YEAR_DAYS), rule.months):
        if day < roll_day(life, calendar_rule, spec.calendar):
            if life.expiry < oldest and life.month not in {each.life.month for each in every}:
                asked = _template(spec)
                asked.lastTradeDateOrContractMonth = life.month
                words = f"IB tells of no contract that expires before {oldest}"
                raise ExpiredContractError(200, words, asked)
            return


def _near_month(wanted: str | Contract, near: str) -> str:
    """Return the month that the name itself says, or `near`."""
    one = naming.parse(wanted) if isinstance(wanted, str) and ":" in wanted else wanted
    said = "" if isinstance(one, str) else one.lastTradeDateOrContractMonth
    if said and near and not (said.startswith(near) or near.startswith(said)):
        raise RollRuleError(f"the name says {said}, near says {near}")
    return near or said


def _template(spec: FutureSpec) -> Contract:
    return Contract(
        secType="FUT",
        symbol=spec.ib_symbol,
        exchange=spec.exchange,
        currency=spec.currency,
        tradingClass=spec.trading_class,
    )


def _of(details: ContractDetails) -> Contract:
    assert details.contract is not None
    return details.contract


def _month(listed: Sequence[Listed], month: str, spec: FutureSpec) -> Listed:
    for each in listed:
        if month in {each.life.month, f"{each.expiry:%Y%m%d}"}:
            return each
    asked = _template(spec)
    asked.lastTradeDateOrContractMonth = month
    months = ", ".join(sorted(each.life.month for each in listed))
    raise UnknownContractError(200, f"IB lists no {spec.symbol} {month}; it has {months}", asked)


def _bag(near: Contract, far: Contract) -> Contract:
    """Return the spread that a native calendar spread of the exchange is: sell near, buy far."""
    legs = [
        ComboLeg(conId=one.conId, ratio=1, action=action, exchange=one.exchange)
        for one, action in ((near, "SELL"), (far, "BUY"))
    ]
    return Contract(
        secType="BAG",
        symbol=near.symbol,
        exchange=near.exchange,
        currency=near.currency,
        comboLegs=legs,
    )
