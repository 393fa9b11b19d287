"""Keeps IB's answers about instruments in the store's `contracts` dataset, and how long they hold.

One row an answer, newest last, so that the past can be compared with the present. A question with
several matches keeps them all: preferences and front months are chosen anew each time. Not here:
asking (`ibkit.contracts.resolver`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import pandas as pd
from ib_async import ComboLeg, Contract, ContractDetails, TagValue

from ibkit import naming
from ibkit.contracts.picking import fits
from ibkit.errors import ShorthandError, StoreError
from ibkit.log import get_logger

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from ibkit.store import Store

log = get_logger(__name__)
DATASET: Final = "contracts"
# how many days an answer holds, by kind; a derivative's ends with its last trading day anyway
AGES: Final[Mapping[str, float]] = {
    "STK": 30,
    "IND": 90,
    "CASH": 365,
    "CRYPTO": 90,
    "CFD": 30,
    "BOND": 30,
    "FUT": 30,
    "OPT": 30,
    "FOP": 30,
    "CONTFUT": 1,
    "CONID": 30,
    "MONTHS": 1,  # which months of a future are listed
    "CHAIN": 1,  # which expiries and strikes a chain has
    "RULE": 90,  # a price grid
    "MARGIN": 1,  # asked anew after minutes, see `ibkit.contracts.margin`; kept for want of IB
}
# what is kept besides instruments
VALUES: Final = frozenset({"CHAIN", "RULE", "MARGIN"})
# the columns that say who it is; a change of one of them is worth a word
IDENTITY: Final = ("con_id", "symbol", "local_symbol", "trading_class", "primary_exchange")
EMPTY: Final = pd.DataFrame({"ts": pd.DatetimeIndex([], tz="UTC"), "entry": [], "con_id": []})


@dataclass(frozen=True, slots=True)
class Answer:
    """What IB said to a question, and when."""

    at: datetime
    detail: str

    @property
    def matches(self) -> list[ContractDetails]:
        """The instruments that fitted; made anew on each call."""
        return [unpack(row) for row in json.loads(self.detail)]

    @property
    def value(self) -> Any:
        """What was kept with `Book.keep_value`."""
        return json.loads(self.detail)


class Book:
    """Answers by question. Reads each group of them once; may be used from any thread.

    Parameters
    ----------
    store : Store
        Where they are kept.
    simulated : bool
        Whether the answers are of a simulated gateway.
    ages : mapping of str to float, optional
        Days that answers of a kind hold, over `AGES`.
    """

    def __init__(
        self, store: Store, *, simulated: bool, ages: Mapping[str, float] | None = None
    ) -> None:
        self._store = store
        self._source = "SIM" if simulated else "IB"
        self.ages: Mapping[str, float] = {**AGES, **(ages or {})}
        self._groups: dict[str, dict[str, Answer]] = {}

    def __repr__(self) -> str:
        return f"<Book of {self._store!r}>"

    def find(self, question: str, group: str) -> Answer | None:
        """Return the newest answer to a question, however old it is."""
        return self._group(group).get(question)

    def holds(self, answer: Answer, kind: str, now: datetime) -> bool:
        """Whether an answer is young enough for its kind, and no derivative in it has expired."""
        if now - answer.at > timedelta(days=self.ages[kind]):
            return False
        return kind in VALUES or not all(is_over(each, now.date()) for each in answer.matches)

    def keep(
        self, answers: Mapping[str, Sequence[ContractDetails]], group: str, now: datetime
    ) -> None:
        """Keep the answers to several questions, in one write; they are on the disk afterwards."""
        rows = [
            _row(question, [pack(each) for each in matches], now, matches)
            for question, matches in answers.items()
        ]
        self._write(rows, group, now)

    def keep_value(self, question: str, value: Any, group: str, now: datetime) -> None:
        """Keep an answer that is no instrument, such as the parameters of a chain."""
        self.keep_values({question: value}, group, now)

    def keep_values(self, values: Mapping[str, Any], group: str, now: datetime) -> None:
        """Keep several of them, in one write."""
        self._write([_row(name, value, now, ()) for name, value in values.items()], group, now)

    def newest(self, start: str, group: str) -> Answer | None:
        """Return the newest answer to a question that begins so."""
        found = [each for name, each in self._group(group).items() if name.startswith(start)]
        return max(found, key=lambda each: each.at, default=None)

    def search(self, description: Contract) -> list[ContractDetails]:
        """Return what fits a description among the answers to any question, newest first.

        For want of a connection: there may be others that nobody has asked for.
        """
        whole = self._store.instruments(DATASET)
        own = group_of(description)
        groups = [own] if own in whole and not description.conId else whole
        answers = [each for group in groups for each in self._group(group).values()]
        found: dict[int, ContractDetails] = {}
        for answer in sorted(answers, key=lambda each: each.at, reverse=True):
            rows = json.loads(answer.detail)
            for row in rows if isinstance(rows, list) else ():
                if not isinstance(row, dict) or not _may_fit(row, description):
                    continue
                details = unpack(row)
                if details.contract is not None and fits(details.contract, description):
                    found.setdefault(details.contract.conId, details)
        return list(found.values())

    def known(self) -> pd.DataFrame:
        """Return the newest answer to every question; see `known_in`."""
        groups = self._store.instruments(DATASET)
        frames = [self._store.read(DATASET, group) for group in groups]
        return known_in(pd.concat(frames) if frames else EMPTY)

    def changes(self) -> pd.DataFrame:
        """Return what has become another instrument, or has another name; see `changes_in`."""
        groups = self._store.instruments(DATASET)
        frames = [self._store.read(DATASET, group) for group in groups]
        return changes_in(pd.concat(frames) if frames else EMPTY)

    def _group(self, group: str) -> dict[str, Answer]:
        if group not in self._groups:
            self._groups[group] = self._read(group)
        return self._groups[group]

    def _read(self, group: str) -> dict[str, Answer]:
        if group not in self._store.instruments(DATASET):
            return {}
        rows = self._store.read(DATASET, group, columns=["ts", "entry", "detail"], as_="arrow")
        columns = (rows.column(name).to_pylist() for name in ("entry", "ts", "detail"))
        found = sorted(zip(*columns, strict=True), key=lambda row: row[1])
        return {entry: Answer(ts.astimezone(UTC), detail) for entry, ts, detail in found}

    def _write(self, rows: list[dict[str, Any]], group: str, now: datetime) -> None:
        """Write rows; a store that cannot be written costs the memory of them, nothing else."""
        kept = self._group(group)
        for row in rows:
            kept[row["entry"]] = Answer(now, row["detail"])
        try:
            self._store.upsert(DATASET, group, pd.DataFrame(rows), source=self._source)
        except StoreError as error:
            log.warning("contracts are not kept", error=str(error).partition("\n")[0])


def question_of(description: Contract) -> str:
    """Return what a description is remembered by: its shorthand, if that says all of it.

    >>> question_of(naming.parse("AAPL")), question_of(Contract(secType="STK", localSymbol="X"))
    ('AAPL', 'localSymbol=X secType=STK')
    """
    text = naming.shorthand(description)
    try:
        if naming.parse(text) == description:
            return text
    except ShorthandError:
        pass
    said = _said(description)
    return " ".join(f"{name}={said[name]}" for name in sorted(said))


def group_of(description: Contract) -> str:
    """Return the folder that answers about such a description are kept in."""
    if description.secType in {"OPT", "FOP"}:
        return group_name(description.secType, description.symbol, description.currency)
    return group_name(description.secType or "CONID")


def group_name(kind: str, symbol: str = "", currency: str = "") -> str:
    """Return the name of a folder of answers."""
    named = Contract(secType="KIND", symbol=kind, exchange=symbol or "ALL")
    named.currency = currency or "ALL"
    return naming.slug(named)


def kind_of(description: Contract) -> str:
    """Return which rule of `AGES` holds for a description."""
    if description.conId or not description.secType:
        return "CONID"
    dated = description.lastTradeDateOrContractMonth or description.localSymbol
    kind = description.secType
    return "MONTHS" if kind == "FUT" and not dated else kind if kind in AGES else "CONID"


def is_over(details: ContractDetails, today: date) -> bool:
    """Whether a derivative's last trading day has passed."""
    contract = details.contract
    text = contract.lastTradeDateOrContractMonth[:8] if contract else ""
    return len(text) == 8 and text < f"{today:%Y%m%d}"


def pack(details: ContractDetails) -> dict[str, Any]:
    """Return everything that details say, as JSON takes it; `unpack` is the way back."""
    found = {name: value for name, value in _said(details).items() if name != "contract"}
    if details.secIdList:
        found["secIdList"] = [[each.tag, each.value] for each in details.secIdList]
    found["contract"] = _said(details.contract or Contract())
    return found


def unpack(row: Mapping[str, Any]) -> ContractDetails:
    """Return the details that `pack` was given."""
    found = dict(row)
    contract = dict(found.pop("contract"))
    legs = [ComboLeg(**leg) for leg in contract.pop("comboLegs", ())]
    ids = [TagValue(*pair) for pair in found.pop("secIdList", ())]
    made = Contract(**contract, comboLegs=legs)
    return ContractDetails(contract=made, secIdList=ids, **found)


def _said(thing: Any) -> dict[str, Any]:
    """Return the fields of a dataclass of ib_async that differ from their defaults."""
    plain = type(thing)() if not isinstance(thing, Contract) else Contract()
    names = [each.name for each in fields(plain)]
    return {
        name: value for name in names if (value := getattr(thing, name)) != getattr(plain, name)
    }


def _row(
    question: str, value: Any, now: datetime, matches: Sequence[ContractDetails]
) -> dict[str, Any]:
    """Return one row of the dataset; the columns of a single match say who it is."""
    row: dict[str, Any] = {"ts": now, "entry": question, "detail": json.dumps(value)}
    if len(matches) != 1 or matches[0].contract is None:
        return row
    details, contract = matches[0], matches[0].contract
    return row | {
        "con_id": contract.conId,
        "symbol": contract.symbol,
        "sec_type": contract.secType,
        "exchange": contract.exchange,
        "primary_exchange": contract.primaryExchange,
        "currency": contract.currency,
        "local_symbol": contract.localSymbol,
        "trading_class": contract.tradingClass,
        "expiry": contract.lastTradeDateOrContractMonth,
        "strike": contract.strike or None,
        "right": contract.right,
        "multiplier": contract.multiplier,
        "min_tick": details.minTick,
        "long_name": details.longName,
        "time_zone": details.timeZoneId,
        "market_rule_ids": details.marketRuleIds,
    }


def _may_fit(row: Mapping[str, Any], description: Contract) -> bool:
    """Whether it is worth to unpack a row: its kind, number and symbol are those that are asked."""
    said = row.get("contract", {})
    names = ("secType", "conId", "symbol")
    pairs = ((getattr(description, name), said.get(name)) for name in names)
    return all(not wanted or wanted == is_ for wanted, is_ in pairs)


KNOWN: Final = (
    *("con_id", "sec_type", "symbol", "exchange", "primary_exchange", "currency", "expiry"),
    *("strike", "right", "trading_class", "local_symbol", "long_name"),
)


def known_in(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the newest row of each question, with what its one match is; null, if it has several.

    Index ``entry``, the question as shorthand; columns ``as_of`` (when IB said so), and those of
    the dataset that say who it is.
    """
    newest = rows.sort_values("ts", kind="stable").drop_duplicates("entry", keep="last")
    newest = newest.set_index("entry").sort_index().rename(columns={"ts": "as_of"})
    return newest.reindex(columns=["as_of", *KNOWN])


def differences(old: Iterable[ContractDetails], new: Iterable[ContractDetails]) -> dict[str, Any]:
    """Return what tells two answers to one question apart, as field: (before, after).

    Only where both name one instrument.
    """
    before, after = list(old), list(new)
    if len(before) != 1 or len(after) != 1:
        return {}
    names = ("conId", "symbol", "localSymbol", "tradingClass", "primaryExchange")
    pairs = {
        name: (getattr(before[0].contract, name), getattr(after[0].contract, name))
        for name in names
    }
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def changes_in(rows: pd.DataFrame) -> pd.DataFrame:
    """Return where consecutive answers differ: to one question, or about one conId.

    Parameters
    ----------
    rows : DataFrame
        Of the `contracts` dataset, any order.

    Returns
    -------
    DataFrame
        Oldest first: ``ts entry field before after``. A ``con_id`` that changed is another
        instrument under the old name; a ``symbol`` that changed, the same one renamed.
    """
    known = rows[rows["con_id"].notna()].sort_values("ts", kind="stable")
    found: list[dict[str, Any]] = []
    for by, names in (("entry", IDENTITY), ("con_id", IDENTITY[1:3])):
        for _, group in known.groupby(by, sort=False):
            for name in names:
                if name not in group:
                    continue
                values = group[name].to_list()
                found += [
                    _change(group.iloc[n + 1], name, values[n], values[n + 1])
                    for n in range(len(values) - 1)
                    if values[n] != values[n + 1] and not (pd.isna(values[n]))
                ]
    columns = ["ts", "entry", "field", "before", "after"]
    frame = pd.DataFrame(found, columns=columns)
    kept = frame.drop_duplicates(["ts", "field", "before", "after"])
    return kept.sort_values("ts", kind="stable").reset_index(drop=True)


def _change(row: Any, name: str, before: Any, after: Any) -> dict[str, Any]:
    texts = [str(int(each)) if name == "con_id" else str(each) for each in (before, after)]
    return {
        "ts": row["ts"],
        "entry": row["entry"],
        "field": name,
        "before": texts[0],
        "after": texts[1],
    }
