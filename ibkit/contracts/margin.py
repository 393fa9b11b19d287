"""What a position must be covered by: IB's word by what-if orders, the user's own for want of it.

IB answers for an account as it is: a position that is held already makes the next one cheaper, or
dearer. So the numbers are changes, they belong to one account, and they age. Not here: placing
orders (`ibkit.orders`); a what-if places none.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Literal

import pandas as pd
from ib_async import Contract, MarketOrder
from ib_async.util import UNSET_DOUBLE

from ibkit import clock, naming
from ibkit.connection.loop import on_loop
from ibkit.contracts.book import group_name
from ibkit.contracts.specs import find_spec
from ibkit.contracts.ticks import Number, to_amount
from ibkit.errors import (
    BudgetSpentError,
    IbkitError,
    NotConnectedError,
    RequestRefusedError,
    RequestTimeoutError,
)
from ibkit.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from ib_async import ContractDetails, OrderState

    from ibkit.connection import Link
    from ibkit.connection.loop import LoopThread
    from ibkit.contracts.book import Book
    from ibkit.contracts.overrides import Overrides

FRESH_S: Final = 900.0
KEPT: Final = 4_096
SIDES: Final = ("long_initial", "long_maintenance", "short_initial", "short_maintenance")
COLUMNS: Final[dict[str, Any]] = {
    "instrument": "string",
    "account": "string",
    "quantity": object,
    **dict.fromkeys(SIDES, object),
    "currency": "string",
    "source": "string",
    "age_s": "float64",
    "problem": "string",
}
MARGINS: Final = group_name("MARGIN")
Key = tuple[str, str, str, Decimal]  # account, shorthand, exchange, units
FUTURES: Final = frozenset({"FUT", "CONTFUT"})
UNANSWERED: Final = (
    *(NotConnectedError, RequestTimeoutError, BudgetSpentError, RequestRefusedError),
)
log = get_logger(__name__)


class NoMarginError(IbkitError, LookupError):
    """Neither IB nor the user says what an instrument must be covered by: `name`, `reason`."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name, self.reason = name, reason

    def __str__(self) -> str:
        return (
            f"The margin of {self.name} is not known: {self.reason}\n"
            f"Hint: a fallback is [margins.<symbol>] in contracts.toml."
        )


@dataclass(frozen=True, slots=True)
class Margin:
    """What adding a position to an account must be covered by.

    Attributes
    ----------
    instrument, account : str
        Shorthand, and whose; no account for a static one.
    quantity : Decimal
        Of units, long or short.
    long_initial, long_maintenance, short_initial, short_maintenance : Decimal or None
        Money in `currency`; None when IB names none. Less than nothing is possible: the position
        then offsets another one.
    currency : str
        The account's base currency, or the user's word.
    source : {"IB what-if", "static"}
        Who says so.
    as_of : datetime
        When IB said so, UTC.
    note : str
        What the user overrides, and why IB's word is missing.
    """

    instrument: str
    account: str
    quantity: Decimal
    long_initial: Decimal | None
    long_maintenance: Decimal | None
    short_initial: Decimal | None
    short_maintenance: Decimal | None
    currency: str
    source: Literal["IB what-if", "static"]
    as_of: datetime
    note: str = ""

    @property
    def age_s(self) -> float:
        """How old IB's word is, in seconds."""
        return (clock.now() - self.as_of).total_seconds()

    def _row(self) -> dict[str, Any]:
        row = {name: getattr(self, name) for name in COLUMNS if name != "problem"}
        return {**row, "problem": pd.NA}


class Margins:
    """Margin by what-if. A part of `Contracts`."""

    _loop: LoopThread
    _accounting: Link  # the connection that knows the accounts
    _overrides: Overrides
    _margins: dict[Key, Margin]

    if TYPE_CHECKING:

        async def _resolve(self, wanted: str | Contract) -> ContractDetails: ...
        async def _book(self) -> Book | None: ...

    @on_loop
    async def margin(
        self,
        wanted: str | Contract,
        quantity: Number = 1,
        *,
        account: str = "",
        max_age_s: float = FRESH_S,
    ) -> Margin:
        """Return what a position of `quantity` units must be covered by, long and short.

        Parameters
        ----------
        wanted : str or Contract
            The instrument.
        quantity : Decimal, float, int or str
            Units, more than 0.
        account : str, optional
            Whose; the profile's, or the only one of the login.
        max_age_s : float
            How old a remembered answer may be; 0 asks anew.

        Returns
        -------
        Margin
            IB's answer as a change of the account as it is now, its age in `age_s`; or the static
            one of ``[margins.<symbol>]`` in contracts.toml, when IB cannot be asked or names none.

        Raises
        ------
        NoMarginError
            IB does not say, and there is no static one.
        ValueError
            The quantity is not positive, or the account is not of this login.

        Notes
        -----
        Costs two what-if orders, which are never placed. The answer is kept in the store: another
        session has it with its age, and it is what there is when IB cannot be asked.
        """
        fresh: dict[str, Any] = {}
        try:
            return await self._margin(wanted, to_amount(quantity), account, max_age_s, fresh)
        finally:
            await self._keep_margins(fresh)

    async def _margin(
        self,
        wanted: str | Contract,
        units: Decimal,
        account: str,
        max_age_s: float,
        fresh: dict[str, Any],
    ) -> Margin:
        """Return one margin; what IB has said goes into `fresh`, for the book."""
        if units <= 0:
            raise ValueError(f"quantity must be positive, got {units}: both sides are answered")
        whose = self._whose(account)
        details = await self._resolve(wanted)
        assert details.contract is not None
        contract = details.contract
        key = whose, naming.shorthand(contract), contract.exchange, units
        known = self._margins.get(key) or await self._kept_margin(key)
        if known is not None and known.age_s <= max_age_s:
            return known
        try:
            found = await self._ask_margin(contract, units, whose)
        except UNANSWERED as error:
            return self._static(contract, units, str(error), known)
        if found.long_initial is None and found.short_initial is None:
            return self._static(contract, units, "IB names none", known)
        while len(self._margins) >= KEPT:
            self._margins.pop(next(iter(self._margins)))
        self._margins.pop(key, None)
        self._margins[key] = found
        fresh[_question(key)] = _pack(found)
        return found

    async def _kept_margin(self, key: Key) -> Margin | None:
        """Return what IB said in another session, or process; of any account, if none is known."""
        book = await self._book()
        if book is None:
            return None
        look = book.find if key[0] else book.newest
        known = await asyncio.to_thread(look, _question(key), MARGINS)
        return _unpack(known.value, known.at) if known else None

    async def _keep_margins(self, fresh: dict[str, Any]) -> None:
        book = await self._book() if fresh else None
        if book is not None:
            await asyncio.to_thread(book.keep_values, fresh, MARGINS, clock.now())

    @on_loop
    async def margins(
        self,
        wanted: Iterable[str | Contract],
        quantity: Number = 1,
        *,
        account: str = "",
        max_age_s: float = FRESH_S,
    ) -> pd.DataFrame:
        """Return the margins of several instruments, one row each, in the order they were given.

        Arguments as `margin`. A row whose margin is not known has its reason in ``problem``.

        Returns
        -------
        DataFrame
            ``instrument account quantity long_initial long_maintenance short_initial
            short_maintenance currency source age_s problem``; money is Decimal.
        """
        rows, units, fresh = [], to_amount(quantity), dict[str, Any]()
        try:
            for one in wanted:
                name = one if isinstance(one, str) else naming.shorthand(one)
                try:
                    found = await self._margin(one, units, account, max_age_s, fresh)
                    rows.append(found._row())  # noqa: SLF001 - of this module
                except (IbkitError, LookupError) as error:
                    rows.append({"instrument": name, "problem": str(error)})
        finally:
            await self._keep_margins(fresh)
        return pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)

    def _whose(self, account: str) -> str:
        accounts = list(self._accounting.accounts)
        if account and accounts and account not in accounts:
            raise ValueError(f"this login has no account {account!r}")
        return account or self._accounting.profile.account or (accounts[0] if accounts else "")

    async def _ask_margin(self, contract: Contract, units: Decimal, account: str) -> Margin:
        long = await self._what_if(contract, "BUY", units, account)
        short = await self._what_if(contract, "SELL", units, account)
        return Margin(
            instrument=naming.shorthand(contract),
            account=account,
            quantity=units,
            long_initial=_money(long.initMarginChange),
            long_maintenance=_money(long.maintMarginChange),
            short_initial=_money(short.initMarginChange),
            short_maintenance=_money(short.maintMarginChange),
            currency=self._base_currency(account),
            source="IB what-if",
            as_of=clock.now(),
        )

    async def _what_if(
        self, contract: Contract, action: str, units: Decimal, account: str
    ) -> OrderState:
        order = MarketOrder(action, float(units), account=account, tif="DAY")
        state: OrderState = await self._accounting.request(
            "what-if order", lambda ib: ib.whatIfOrderAsync(contract, order), contract=contract
        )
        return state

    def _base_currency(self, account: str) -> str:
        """Return the currency that IB counts an account's margin in."""
        for value in self._accounting.ib.accountValues(account):
            if value.tag == "NetLiquidation" and value.currency not in {"", "BASE"}:
                return value.currency
        return ""

    def _static(
        self, contract: Contract, units: Decimal, reason: str, known: Margin | None
    ) -> Margin:
        """Return the user's word, else an old answer of IB, else raise."""
        name = naming.shorthand(contract)
        root = _root(contract)
        row = self._overrides.margins.get(root)
        if row is None or row.initial is None:
            if known is None:
                raise NoMarginError(name, reason)
            return replace(known, note=f"older than asked for: {reason}")
        initial, maintenance = row.initial, row.maintenance or row.initial
        log.info("static margin", instrument=name, reason=reason)
        return Margin(
            instrument=name,
            account="",
            quantity=units,
            long_initial=initial * units,
            long_maintenance=maintenance * units,
            short_initial=(row.initial_short or initial) * units,
            short_maintenance=(row.maintenance_short or maintenance) * units,
            currency=row.currency or contract.currency,
            source="static",
            as_of=clock.now(),
            note=f"{self._overrides.words('margins', root)}; {reason}",
        )


def _question(key: Key) -> str:
    """Return what a margin is kept under; the account last, so that it may be left open."""
    account, name, exchange, units = key
    return f"MARGIN {name} {exchange} {units.normalize():f} {account}"


def _pack(margin: Margin) -> dict[str, Any]:
    row = {name: getattr(margin, name) for name in ("instrument", "account", "currency")}
    numbers = {name: getattr(margin, name) for name in ("quantity", *SIDES)}
    return row | {name: None if each is None else str(each) for name, each in numbers.items()}


def _unpack(row: dict[str, Any], at: datetime) -> Margin:
    numbers = {name: row[name] and Decimal(row[name]) for name in ("quantity", *SIDES)}
    return Margin(**{**row, **numbers}, source="IB what-if", as_of=at)


def _root(contract: Contract) -> str:
    """Return what a margin is written down under: the root of a future, else the symbol."""
    if contract.secType not in FUTURES:
        return contract.symbol
    spec = find_spec(
        contract.symbol, trading_class=contract.tradingClass, multiplier=contract.multiplier
    )
    return spec.symbol if spec else contract.symbol


def _money(value: Any) -> Decimal | None:
    """Return IB's number; None where it is not set, which IB says in several ways."""
    try:
        number = Decimal(str(value))
    except (ArithmeticError, ValueError):
        return None
    return number if number.is_finite() and abs(number) < Decimal(UNSET_DOUBLE) else None
