"""What can be traded: the instruments of `universe.toml` and the futures chains, found as IB finds.

Pure and without a clock: whoever asks says which day it is. Not here: prices (`market`) and hours
(`calendars`). Numbers of contracts (conId) are IB's where public, else stable ones of ours.
"""

from __future__ import annotations

import tomllib
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from functools import cached_property
from importlib.resources import files
from typing import TYPE_CHECKING, Final

from ibkit.sim.catalogue import read
from ibkit.sim.chains import KNOWN_FUTURES, Product, make_future, read_number, slot
from ibkit.sim.instrument import Description, Instrument, Model, PathModel, Rule
from ibkit.sim.optionchains import OptionClass, options, read_option

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ibkit.contracts.specs import FutureSpec
    from ibkit.sim.catalogue import Catalogue

__all__ = ["Description", "Instrument", "Model", "PathModel", "Product", "Universe"]

TODAY: Final = date(2026, 11, 20)  # of a universe that nobody told the day
AHEAD: Final = timedelta(days=400)
BEHIND: Final = timedelta(days=730)
ALIASES: Final = {"ISLAND": "NASDAQ", "GLOBEX": "CME", "ECBOT": "CBOT", "DTB": "EUREX"}
DERIVED: Final = frozenset({"CFD", "BOND"})  # which a search by symbol does not list
ROLL: Final = timedelta(days=8)  # before its expiry, a future's volume has gone to the next


class Universe:
    """All instruments; futures and options are made when they are asked for.

    Parameters
    ----------
    catalogue : Catalogue
        What the files describe.
    """

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self.instruments = catalogue.instruments
        self.products = catalogue.products
        self._rules = dict(catalogue.rules)
        self._by_id = {instrument.con_id: instrument for instrument in self.instruments}
        self._futures: dict[tuple[str, int, int], Instrument] = {}
        self.option_classes = {one.slot: one for one in catalogue.options}

    @classmethod
    def load(cls, *more: Path) -> Universe:
        """Return the universe of the package's file, with the rows of the files `more` added.

        >>> Universe.load().by_con_id(265598).symbol
        'AAPL'
        """
        texts = [files("ibkit.sim").joinpath("universe.toml").read_text(encoding="utf-8")]
        texts += [path.read_text(encoding="utf-8") for path in more]
        return cls(read([tomllib.loads(text) for text in texts]))

    def with_instruments(self, more: list[Instrument]) -> Universe:
        """Return a universe that knows `more` instruments too."""
        return Universe(replace(self._catalogue, instruments=(*self.instruments, *more)))

    def find(self, description: Description, today: date = TODAY) -> list[Instrument]:
        """Return every instrument that fits all that `description` says; none is an empty list.

        A description without conId, symbol, class or security id means nothing and fits nothing.
        Expired futures are found for two years when it says ``include_expired``.
        """
        if description.con_id:
            known = self.by_con_id(description.con_id)
            found = [known] if known and _alive(known, description, today) else []
        else:
            found = [one for one in self._candidates(description, today) if _fits(one, description)]
        return [_routed(one, description.exchange) for one in found if _trades_on(one, description)]

    def by_con_id(self, con_id: int) -> Instrument | None:
        """Return the instrument with IB's number `con_id`, or None."""
        return (
            self._by_id.get(con_id)
            or self._future_by_id(con_id)
            or read_option(self.option_classes, con_id)
        )

    def options_on(self, under: Instrument) -> list[OptionClass]:
        """Return the option classes on an underlying."""
        return [
            one
            for one in self.option_classes.values()
            if one.under.con_id == under.con_id
            or (one.product is not None and _is_month_of(under, one.under))
        ]

    def matching(self, pattern: str) -> list[Instrument]:
        """Return up to 16 instruments whose symbol begins with, or whose name holds, `pattern`."""
        wanted = pattern.upper()
        hits = [
            one
            for one in self.instruments
            if wanted
            and one.sec_type not in DERIVED
            and (one.symbol.startswith(wanted) or wanted in one.long_name.upper())
        ]
        hits.sort(key=lambda one: (one.symbol != wanted, not one.symbol.startswith(wanted)))
        return hits[:16]

    def market_rule(self, rule_id: int) -> Rule | None:
        """Return the price steps of a rule: rows of (low edge, increment), or None."""
        return self._rules.get(rule_id)

    def increment(self, instrument: Instrument, price: Decimal) -> Decimal:
        """Return the price step of `instrument` at `price`."""
        rule = (
            self.market_rule(instrument.market_rule_ids[0]) if instrument.market_rule_ids else None
        )
        steps = [step for low, step in rule or () if price >= low]
        return steps[-1] if steps else instrument.tick

    def chain(self, root: str, first: date, last: date) -> list[Instrument]:
        """Return the futures of `root` that expire from `first` to `last`, nearest first."""
        months = range(first.year * 12 + first.month - 2, last.year * 12 + last.month + 3)
        liquid = self.products[root].spec.months
        chain = [
            self._future(root, index // 12, index % 12 + 1)
            for index in months
            if index % 12 + 1 in liquid
        ]
        return [one for one in chain if one.expiry and first <= one.expiry <= last]

    def _candidates(self, description: Description, today: date) -> Iterator[Instrument]:
        """Yield what may fit."""
        if description.sec_type not in {"FUT", "CONTFUT"}:
            yield from self.instruments
        if description.sec_type in {"OPT", "FOP"}:
            for one in self.option_classes.values():
                if one.sec_type == description.sec_type and _may_be_option(one, description):
                    yield from options(one, description, today)
        first = today - BEHIND if description.include_expired else today
        for root, product in self.products.items():
            if description.sec_type == "FUT" and _may_be(product.spec, description):
                yield from self.chain(root, first, today + AHEAD)
            if description.sec_type == "CONTFUT" and _may_be(product.spec, description):
                front = self.chain(root, today + ROLL, today + AHEAD)[:1]
                yield from (replace(one, sec_type="CONTFUT") for one in front)

    def _future_by_id(self, con_id: int) -> Instrument | None:
        """Return the future that our own scheme, or IB's public number, stands for."""
        for key, number in KNOWN_FUTURES.items():
            if number == con_id:
                return self._future(*key)
        found = read_number(con_id)
        root = self._roots.get(found[0]) if found else None
        if found is None or root is None:
            return None
        _, year, month = found
        return self._future(root, year, month) if month in self.products[root].spec.months else None

    @cached_property
    def _roots(self) -> dict[int, str]:
        return {slot(root): root for root in self.products}

    def _future(self, root: str, year: int, month: int) -> Instrument:
        """Return one month of a product; made once."""
        key = (root, year, month)
        if key not in self._futures:
            future = make_future(self.products[root], year, month)
            self._futures[key] = future
            self._rules.setdefault(future.market_rule_ids[0], ((Decimal(0), future.tick),))
        return self._futures[key]


def _fits(one: Instrument, wanted: Description) -> bool:
    """Whether nothing that `wanted` says speaks against `one`."""
    if not (wanted.symbol or wanted.local_symbol or wanted.trading_class or wanted.sec_id):
        return False
    plain = (
        (wanted.sec_type, one.sec_type),
        (wanted.currency, one.currency),
        (wanted.trading_class, one.trading_class),
        (wanted.right[:1], one.right),
    )
    if any(said and said != is_ for said, is_ in plain):
        return False
    return _same_name(one, wanted) and _same_numbers(one, wanted)


def _same_name(one: Instrument, wanted: Description) -> bool:
    symbols = {"", one.symbol, *one.aliases}
    primary = ALIASES.get(wanted.primary_exchange, wanted.primary_exchange)
    return (
        wanted.symbol in symbols
        and wanted.local_symbol in {"", one.local_symbol}
        and primary in {"", one.primary_exchange}
        and (not wanted.sec_id or (wanted.sec_id_type, wanted.sec_id) in one.sec_ids)
    )


def _same_numbers(one: Instrument, wanted: Description) -> bool:
    expiry = wanted.last_trade_date.split(" ")[0].replace("-", "")
    month_or_day = one.contract_month if len(expiry) == len("yyyymm") else one.last_trade_date
    if expiry and expiry != month_or_day:
        return False
    if wanted.strike and wanted.strike != one.strike:
        return False
    try:
        return not wanted.multiplier or Decimal(wanted.multiplier) == Decimal(one.multiplier or 1)
    except ArithmeticError:
        return False


def _may_be(spec: FutureSpec, wanted: Description) -> bool:
    """Whether a month of this product may be meant: cheap, before the chain is made."""
    local = wanted.local_symbol
    return (
        wanted.symbol in {"", spec.ib_symbol}
        and wanted.trading_class in {"", spec.trading_class}
        and (not local or local.startswith(spec.trading_class))
    )


def _is_month_of(one: Instrument, other: Instrument) -> bool:
    """Whether two futures are of one product."""
    return (one.sec_type, one.symbol, one.trading_class, one.exchange) == (
        other.sec_type,
        other.symbol,
        other.trading_class,
        other.exchange,
    )


def _may_be_option(one: OptionClass, wanted: Description) -> bool:
    """Whether an option of this class may be meant: cheap, before any is made."""
    named = wanted.symbol or wanted.trading_class or wanted.local_symbol
    return (
        bool(named)
        and wanted.symbol in {"", one.under.symbol}
        and wanted.trading_class in {"", one.name}
        and wanted.currency in {"", one.under.currency}
        and wanted.exchange in {"", *one.venues}
    )


def _trades_on(one: Instrument, wanted: Description) -> bool:
    exchange = ALIASES.get(wanted.exchange, wanted.exchange)
    return exchange in {"", one.exchange, one.primary_exchange, *one.valid_exchanges}


def _routed(one: Instrument, exchange: str) -> Instrument:
    """Return the instrument as routed to the venue that the client named."""
    venue = ALIASES.get(exchange, exchange)
    return one if venue in {"", one.exchange} else replace(one, exchange=venue)


def _alive(one: Instrument, wanted: Description, today: date) -> bool:
    expiry = one.expiry
    if expiry is None:
        return True
    return expiry >= (today - BEHIND if wanted.include_expired else today)
