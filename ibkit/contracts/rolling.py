"""Futures as the user asks for them: `kit.contracts.spec`, `roll_calendar`, `roll_spread`, ...

A mixin of `Contracts`. The futures table serves where IB is silent; where IB speaks, its values
win and what differs is reported. Not here: the rules themselves (`ibkit.contracts.rolls`,
`ibkit.contracts.expiry`), and the front month of a shorthand (`ibkit.contracts.resolver`).
"""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import date, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import pandas as pd
from ib_async import ComboLeg, Contract, ContractDetails, Future

from ibkit import clock, naming
from ibkit.connection.asks import ask_for
from ibkit.connection.loop import on_loop
from ibkit.contracts.expiry import UnknownExpiryRuleError, expiry
from ibkit.contracts.futures import Listed, front_month, to_listed
from ibkit.contracts.hours import trade_date
from ibkit.contracts.rolls import RollRule, RollRuleError, lives, make_rule, roll_calendar
from ibkit.contracts.specs import FutureSpec, find_spec
from ibkit.contracts.ticks import to_decimal
from ibkit.errors import (
    IbkitError,
    NotConnectedError,
    RequestRefusedError,
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

DIFFERENCES: Final = {"instrument": "string", "field": "string", "table": "string", "ib": "string"}
VOLUME_DAYS: Final = 30
NEAREST: Final = 4  # whose volumes are compared
log = get_logger(__name__)


class NotAFutureError(IbkitError, ValueError):
    """A name that is no futures product of the table: `name`."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name

    def __str__(self) -> str:
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
            The table has no such product.

        Notes
        -----
        Costs a `reqContractDetails`; without a connection, the table answers alone.
        """
        spec = self._row(wanted)
        listed = await self._listed_or_none(spec)
        return with_ibs(spec, listed[0].details) if listed else spec

    @on_loop
    async def check_specs(self, *wanted: str | Contract) -> pd.DataFrame:
        """Return where IB differs from the futures table, as one row a difference.

        Returns
        -------
        DataFrame
            ``instrument field table ib``; no row: they agree. Expiries are compared for every
            contract that IB lists; a product of which it lists none has a row ``listing``.
        """
        rows: list[dict[str, str]] = []
        for one in wanted:
            spec = self._row(one)
            listed = await self._listed_or_none(spec)
            if not listed:
                rows.append({**_row_of(spec), "field": "listing", "table": "yes", "ib": "none"})
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
        rule: RollRule | None = None,
        volumes: pd.DataFrame | None = None,
    ) -> pd.DataFrame:
        """Return when each contract of a product gives way to the next.

        Parameters
        ----------
        wanted : str or Contract
            The product, as for `spec`.
        start, end : date or str
            Which contracts: those that expire between them; `end` defaults to a year after today.
        rule : RollRule, optional
            Instead of the product's (``[roll.<root>]`` of contracts.toml; else eight calendar
            days before the last safe day).
        volumes : DataFrame, optional
            For rules by volume or open interest: dates by contract months (``"202612"``).

        Returns
        -------
        DataFrame
            As `ibkit.contracts.rolls.roll_calendar`; `source` says whether IB or the table told
            the expiry.

        Raises
        ------
        NotAFutureError, RollRuleError
            No such product; a rule by volume without volumes.
        """
        spec = self._row(wanted)
        rule = rule or self.roll_rule(spec.symbol)
        first = trade_date(start, "start")
        until = trade_date(end, "end") if end else clock.now().date() + timedelta(days=365)
        if until < first:
            raise RollRuleError(f"the calendar would end ({until}) before it starts ({first})")
        known = {life.month: life for life in lives(spec, first, until, rule.months)}
        for each in await self._listed_or_none(spec):
            if each.life.month in known:
                known[each.life.month] = each.life
        frame = roll_calendar(known.values(), spec.calendar, rule, volumes)
        frame.attrs["instrument"] = f"FUT:{spec.symbol}"
        return frame

    @on_loop
    async def front(
        self,
        wanted: str | Contract,
        as_of: date | str | None = None,
        *,
        rule: RollRule | None = None,
    ) -> Contract:
        """Return the front month on a day, by the product's roll rule or by `rule`.

        Arguments and errors as `roll_calendar`. By volume, the daily volumes of the nearest
        months are asked for: one historical request for each of four contracts.
        """
        spec = self._row(wanted)
        rule = rule or self.roll_rule(spec.symbol)
        day = trade_date(as_of, "as_of") if as_of else clock.now().date()
        every = await self._listed(spec)
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
            The product, as for `spec`.
        near, far : str, optional
            Contract months (``"202612"``). The front month and the liquid one after it.

        Returns
        -------
        Contract
            A ``BAG`` of two legs, ready for an order: BUY rolls a long position, SELL a short one.
            Its price is far less near.

        Raises
        ------
        UnknownContractError
            IB lists no such month.
        """
        spec = self._row(wanted)
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
        liquid = [each for each in later if each.liquid] or later
        second = _month(every, far, spec) if far else next(iter(liquid), None)
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

    def _row(self, wanted: str | Contract) -> FutureSpec:
        """Return the table's row of a product, with what the user overrides."""
        name = wanted if isinstance(wanted, str) else naming.shorthand(wanted)
        one = wanted
        if isinstance(one, str):
            one = naming.parse(one) if ":" in one else Future(one)
        found = find_spec(
            one.symbol,
            exchange=one.exchange,
            trading_class=one.tradingClass,
            multiplier=one.multiplier,
        )
        if found is None or one.secType not in {"FUT", "CONTFUT"}:
            raise NotAFutureError(name)
        said = self._overrides.spec(found.symbol)
        words = self._overrides.words("futures", found.symbol)
        return replace(found, **said, note=_joined(found.note, words)) if said else found

    async def _front_of(self, matches: list[ContractDetails], as_of: date) -> Listed | None:
        """Return the front month among the contracts of one product, by its roll rule."""
        if not matches:
            return None
        one = _of(matches[0])
        spec = find_spec(one.symbol, trading_class=one.tradingClass, multiplier=one.multiplier)
        rule = self.roll_rule(spec.symbol if spec else one.symbol)
        listed = [to_listed(each, spec) for each in matches]
        volumes = await self._volumes(listed, rule, as_of)
        return front_month(listed, as_of, rule=rule, volumes=volumes)

    async def _listed(self, spec: FutureSpec) -> list[Listed]:
        """Return the contracts of a product that IB lists."""
        asked = _template(spec)
        found = await self._answers(asked)
        if not found:
            raise UnknownContractError(200, "no listed instrument fits", asked)
        return [to_listed(each, spec) for each in found]

    async def _listed_or_none(self, spec: FutureSpec) -> list[Listed]:
        try:
            return await self._listed(spec)
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
        wanted = [each for each in alive if each.liquid or each.month[1] in rule.months]
        columns = {}
        for each in wanted[:NEAREST]:
            columns[each.life.month] = await self._daily_volume(_of(each.details), as_of)
        frame = pd.DataFrame(columns).sort_index()
        return frame[frame.index < pd.Timestamp(as_of)]

    async def _daily_volume(self, contract: Contract, as_of: date) -> pd.Series[float]:
        today = as_of >= clock.now().date()
        end = "" if today else f"{as_of:%Y%m%d}-00:00:00"
        wanted = contract, end, f"{VOLUME_DAYS} D", "1 day", "TRADES", False, 2
        try:
            bars: BarDataList = await self._link.request(
                "daily volumes",
                lambda ib: ib.reqHistoricalDataAsync(*wanted, timeout=0),
                contract=contract,
                ask=ask_for("reqHistoricalData", *wanted),
            )
        except RequestRefusedError as error:
            log.info("no volumes", contract=contract.localSymbol, error=str(error))
            return pd.Series(dtype=float)
        index = pd.DatetimeIndex([pd.Timestamp(each.date).normalize() for each in bars])
        return pd.Series([float(each.volume) for each in bars], index=index.tz_localize(None))


def with_ibs(spec: FutureSpec, details: ContractDetails) -> FutureSpec:
    """Return a row with IB's own values over it; the note says what they changed."""
    ours, theirs = _facts(spec), _ibs_facts(details)
    changed = {name: theirs[name] for name in theirs if theirs[name] != ours[name]}
    if not changed:
        return spec
    words = ", ".join(f"{name}={value} (table: {ours[name]})" for name, value in changed.items())
    log.warning("IB differs from the futures table: IB wins", root=spec.symbol, changed=words)
    return replace(spec, **changed, note=_joined(spec.note, f"IB: {words}"))


def differences(spec: FutureSpec, listed: Listed) -> list[dict[str, str]]:
    """Return where IB's word on one contract differs from the table's row."""
    ours, theirs = _facts(spec), _ibs_facts(listed.details)
    rows = [
        {**_row_of(spec), "field": name, "table": str(ours[name]), "ib": str(ib)}
        for name, ib in theirs.items()
        if ib != ours[name]
    ]
    try:
        expected = expiry(spec, *listed.month)
    except UnknownExpiryRuleError:
        return rows
    if expected != listed.expiry:
        rows.append(
            {
                "instrument": f"FUT:{spec.symbol}:{listed.life.month}",
                "field": "expiry",
                "table": str(expected),
                "ib": str(listed.expiry),
            }
        )
    return rows


def _row_of(spec: FutureSpec) -> dict[str, str]:
    return {"instrument": f"FUT:{spec.symbol}"}


def _facts(spec: FutureSpec) -> dict[str, Any]:
    return {each.name: getattr(spec, each.name) for each in fields(spec)}


def _ibs_facts(details: ContractDetails) -> dict[str, Any]:
    """Return what IB says about the product, where it says something."""
    contract = _of(details)
    told: dict[str, Any] = {
        "ib_symbol": contract.symbol,
        "exchange": contract.exchange,
        "trading_class": contract.tradingClass,
        "currency": contract.currency,
        "multiplier": Decimal(contract.multiplier) if contract.multiplier else None,
        "price_magnifier": details.priceMagnifier,
        "min_tick": to_decimal(details.minTick) if details.minTick else None,
    }
    return {name: value for name, value in told.items() if value}


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


def _joined(*notes: str) -> str:
    return "; ".join(note for note in notes if note)
