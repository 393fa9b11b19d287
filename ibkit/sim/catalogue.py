"""Reads the instruments' file (`universe.toml`, and those that users add).

Its form is told at its head. Not here: finding an instrument (`ibkit.sim.universe`).
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

from ibkit.contracts.specs import load_specs
from ibkit.errors import SimulationError
from ibkit.sim.calendars import CALENDARS
from ibkit.sim.chains import Product, make_future
from ibkit.sim.grids import Bands, bands
from ibkit.sim.instrument import Bond, Instrument, Model, PathModel, Rule
from ibkit.sim.optionchains import CYCLES, SLOTS, OptionClass

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

OTHER_IDS: Final = 300_000_000
SOME_YEAR: Final = 2026  # of the month that stands for a product
ORDER_TYPES: Final = {
    "stock": "ACTIVETIM,AD,ADJUST,ALERT,ALGO,ALLOC,AON,AVGCOST,BASKET,BENCHPX,CASHQTY,COND,"
    "CONDORDER,DAY,DEACT,DEACTDIS,DEACTEOD,DIS,FOK,GAT,GTC,GTD,GTT,HID,IBKRATS,ICE,IOC,LIT,LMT,LOC,MIDPX,MIT,"
    "MKT,MOC,MTL,NONALGO,OCA,OPG,OPGREROUT,PEGBENCH,PEGMID,POSTATS,REL,RTH,SCALE,SCALERST,SIZECHK,"
    "SMARTSTG,SNAPMID,SNAPMKT,SNAPREL,STP,STPLMT,SWEEP,TRAIL,TRAILLIT,TRAILLMT,TRAILMIT,WHATIF",
    "cash": "ACTIVETIM,AD,ADJUST,ALERT,ALGO,ALLOC,AVGCOST,BASKET,CASHQTY,COND,CONDORDER,DAY,DEACT,"
    "DEACTDIS,DEACTEOD,GAT,GTC,GTD,GTT,HID,IOC,LIT,LMT,MIT,MKT,NONALGO,OCA,REL,SCALE,SCALERST,STP,"
    "STPLMT,TRAIL,TRAILLIT,TRAILLMT,TRAILMIT,WHATIF",
    "crypto": "ALLOC,CASHQTY,DAY,GTC,IOC,LMT,MKT,NONALGO,WHATIF",
    "none": "",
}


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What the files describe: instruments, futures by root, market rules by id, option classes."""

    instruments: tuple[Instrument, ...]
    products: Mapping[str, Product]
    rules: Mapping[int, Rule]
    options: tuple[OptionClass, ...] = ()


def read(tables: list[dict[str, Any]]) -> Catalogue:
    """Return what several parsed files describe; later rows win over earlier ones."""
    rules: dict[int, Rule] = {}
    paths: dict[str, PathModel] = {}
    futures: dict[str, dict[str, Any]] = {}
    optioned: dict[str, dict[str, Any]] = {}
    rows: dict[tuple[str, ...], dict[str, Any]] = {}
    for table in tables:
        for name, values in table.items():
            if name == "rules":
                rules.update({int(number): _rule(steps) for number, steps in values.items()})
            elif name == "paths":
                paths.update({path: PathModel(path, **fields) for path, fields in values.items()})
            elif name == "futures":
                futures.update(values)
            elif name == "options":
                optioned.update(values)
            else:
                rows.update(_rows(values))
    for row in rows.values():
        if "path" not in row:
            paths.setdefault(row["symbol"] + row.get("currency", ""), _own_path(row))
    _own_names(rows, paths)
    instruments = [_instrument(row, paths, rules) for row in rows.values()]
    products = _products(futures, paths)
    return Catalogue(
        tuple(instruments),
        products,
        rules,
        _option_classes(optioned, instruments, products, rules),
    )


def _option_classes(
    rows: Mapping[str, dict[str, Any]],
    instruments: list[Instrument],
    products: Mapping[str, Product],
    rules: Mapping[int, Rule],
) -> tuple[OptionClass, ...]:
    """Return the option classes; two must not share a slot, or their conIds would clash."""
    classes = tuple(
        _option_class(name, row, instruments, products, rules) for name, row in rows.items()
    )
    slots: dict[int, str] = {}
    for one in classes:
        if slots.setdefault(one.slot, one.name) != one.name:
            raise SimulationError(
                f"The option classes {slots[one.slot]} and {one.name} share the slot {one.slot}."
            )
    return classes


def _option_class(
    name: str,
    row: Mapping[str, Any],
    instruments: list[Instrument],
    products: Mapping[str, Product],
    rules: Mapping[int, Rule],
) -> OptionClass:
    """Return an option class; its smallest step is the first of its market rule."""
    sec_type, _, symbol = str(row["under"]).partition(":")
    product = products.get(symbol) if sec_type == "FUT" else None
    found = _unders(sec_type, symbol, instruments, product)
    if not found or row["slot"] not in range(SLOTS) or row["cycle"] not in CYCLES:
        raise SimulationError(
            f"The option class {name} cannot be: its under must be an instrument in USD such as "
            f"STK:SPY or a future such as FUT:ES, its slot 0 to {SLOTS - 1}, its cycle one of "
            f"{', '.join(CYCLES)}."
        )
    more: dict[str, Any] = {
        key: row[key] for key in ("european", "morning", "volume") if key in row
    }
    if product is not None:
        more |= {"product": product, "venues": (product.spec.exchange,)}
    if "venues" in row:
        more["venues"] = tuple(row["venues"].split(","))
    return OptionClass(
        name,
        row["slot"],
        found[0],
        row["cycle"],
        Decimal(row["step"]),
        Decimal(row.get("wide", row["step"])),
        row["rule"],
        rules[row["rule"]][0][1],
        **more,
    )


def _unders(
    sec_type: str, symbol: str, instruments: list[Instrument], product: Product | None
) -> list[Instrument]:
    """Return what a class is on: of a product's futures one month that stands for all."""
    if product is not None:
        return [make_future(product, SOME_YEAR, product.spec.months[-1])]
    return [
        one
        for one in instruments
        if (one.sec_type, one.symbol, one.currency) == (sec_type, symbol, "USD")
    ]


def _rule(steps: list[tuple[Any, str]]) -> Rule:
    return tuple((Decimal(str(low)), Decimal(step)) for low, step in steps)


def _rows(group: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Yield the rows of a table with what they share, by what makes them one instrument."""
    shared = {key: value for key, value in group.items() if key != "rows"}
    for row in group["rows"]:
        full = {**shared, **row}
        primary = str(full.get("primary", full["exchange"]))
        yield (full["sec_type"], full["symbol"], full["currency"], primary), full


def _own_path(row: Mapping[str, Any]) -> PathModel:
    names = ("price", "vol", "drift", "market", "sector", "sector_weight")
    return PathModel(_path_name(row), **{name: row[name] for name in names if name in row})


def _path_name(row: Mapping[str, Any]) -> str:
    return f"{row['symbol']}.{row['currency']}"


def _own_names(rows: Mapping[tuple[str, ...], dict[str, Any]], paths: dict[str, PathModel]) -> None:
    """Let rows name another row's path by its symbol (GOOG follows GOOGL)."""
    for row in rows.values():
        if "path" not in row:
            path = _own_path(row)
            paths[path.name] = path
            paths.setdefault(row["symbol"], path)


def _instrument(
    row: Mapping[str, Any], paths: Mapping[str, PathModel], rules: Mapping[int, Rule]
) -> Instrument:
    """Return the instrument of one row."""
    venues = tuple(str(row.get("venues", row["exchange"])).split(","))
    symbol, sec_type = row["symbol"], row["sec_type"]
    pair = f"{symbol}.{row['currency']}"
    local = pair if sec_type == "CASH" else symbol
    trading_class = {"symbol": symbol}.get(
        row.get("trading_class", ""),
        row.get("trading_class", pair if sec_type == "CASH" else "NMS"),
    )
    industry, category, subcategory = _class(str(row.get("class", "")))
    return Instrument(
        con_id=row.get("con_id") or _number(row),
        symbol=symbol,
        sec_type=sec_type,
        exchange=row["exchange"],
        currency=row["currency"],
        local_symbol=local,
        trading_class=trading_class,
        min_tick=Decimal(row["min_tick"]),
        model=_model(row, paths[row.get("path", pair)]),
        primary_exchange=row.get("primary", ""),
        market_name=trading_class,
        order_types=ORDER_TYPES[row["order_types"]],
        valid_exchanges=venues,
        price_magnifier=row.get("price_magnifier", 1),
        long_name=row["name"],
        industry=industry,
        category=category,
        subcategory=subcategory,
        time_zone_id=CALENDARS[row["calendar"]].ib_zone,
        market_rule_ids=(row["rule"],) * len(venues),
        stock_type=row.get("stock_type", ""),
        agg_group=row["agg_group"],
        min_size=Decimal(row["min_size"]),
        size_increment=Decimal(row["size_increment"]),
        suggested_size_increment=Decimal(row["suggested_size_increment"]),
        sec_ids=_sec_ids(row),
        aliases=tuple(row.get("aliases", ())),
        bands=_bands(row, rules),
        under_con_id=row.get("under", 0),
        multiplier=row.get("multiplier", ""),
        bond=Bond(**row["bond"]) if "bond" in row else None,
    )


def _sec_ids(row: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """Return the numbers that an instrument can be asked for by."""
    isin = (("ISIN", row["isin"]),) if "isin" in row else ()
    return (("CUSIP", row["bond"]["cusip"]), *isin) if "bond" in row else isin


def _bands(row: Mapping[str, Any], rules: Mapping[int, Rule]) -> Bands:
    """Return the steps of a row's market rule, whose finest one must be the row's."""
    rule = rules.get(row["rule"], ())
    found = bands(rule) if rule else ()
    tick = Decimal(row["min_tick"]) * row.get("price_magnifier", 1)
    if found and min(step for _, step in rule) != tick:
        raise SimulationError(
            f"{row['symbol']} has the price step {tick}; the finest one of its market rule "
            f"{row['rule']} is {min(step for _, step in rule)}."
        )
    return found


def _number(row: Mapping[str, Any]) -> int:
    """Return a stable conId for an instrument whose number at IB is not public."""
    text = (
        f"{row['sec_type']}/{row['symbol']}/{row['currency']}/{row.get('primary', row['exchange'])}"
    )
    return OTHER_IDS + crc32(text.encode()) % 200_000_000


def _class(text: str) -> tuple[str, str, str]:
    """Return industry, category, subcategory; a slash inside the last belongs to it."""
    parts = text.split("/", 2)
    industry, category, subcategory = parts + [""] * (3 - len(parts))
    return industry, category, subcategory


def _model(row: Mapping[str, Any], path: PathModel) -> Model:
    return Model(
        path=path,
        calendar=row["calendar"],
        scale=row.get("scale", 1.0),
        power=row.get("power", 1),
        carry=row.get("carry", 0.0),
        volume=row.get("volume", 0.0),
        trade_size=row.get("size", 100.0),
        spread=row.get("spread", 1),
        size_unit=Decimal(row.get("size_unit", 1)),
        cycle=row.get("cycle", 0),
    )


def _products(
    futures: Mapping[str, dict[str, Any]], paths: Mapping[str, PathModel]
) -> dict[str, Product]:
    specs = load_specs()
    return {
        root: Product(
            specs[root],
            _model({**row, "cycle": 365 // len(specs[root].months)}, paths[row["path"]]),
            row.get("under", 0),
        )
        for root, row in futures.items()
        if root in specs and specs[root].last_trade
    }
