"""Requests about instruments: details, search, option parameters, market rules.

Not here: how an instrument is found (`ibkit.sim.universe`).
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from ibkit.sim import times
from ibkit.sim.calendars import Session
from ibkit.sim.contracts import ContractSpec, contract_record, spec_of
from ibkit.sim.handlers.refusal import RefusedError, invalid, no_definition
from ibkit.sim.wire import Record, pack
from ibkit.sim.wire import replies as r
from ibkit.sim.worker import Deliver, Later, check_wanted

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import date

    from ibkit.sim.clients import Client
    from ibkit.sim.instrument import Instrument
    from ibkit.sim.server import Gateway
    from ibkit.sim.wire import Message

HOURS_DAYS: Final = 6
MAX_SAMPLES: Final = 16
CHAINED: Final = frozenset({"FUT", "CONTFUT", "OPT", "FOP"})  # a name may mean thousands


def resolve(gateway: Gateway, values: Record) -> Instrument:
    """Return the one instrument that a data or order request means."""
    spec = spec_of(values)
    found = find(gateway, spec)
    if not found:
        raise no_definition()
    if len(found) > 1:
        name = spec.symbol or spec.local_symbol
        raise RefusedError(200, f"The contract description specified for {name} is ambiguous.")
    return found[0]


def find(gateway: Gateway, spec: ContractSpec) -> list[Instrument]:
    """Return what fits the description today."""
    return gateway.universe.find(spec, times.day_of(gateway.clock.now(), "US/Eastern"))


def req_contract_details(client: Client, values: Record) -> Later | None:
    """Answer with every match and an end; with no match error 200 and no end."""
    spec = spec_of(values)
    compute = partial(all_details, client, spec, values["req_id"])
    if spec.con_id or spec.sec_type not in CHAINED:
        compute()()
        return None
    return Later(compute)


def all_details(client: Client, spec: ContractSpec, req_id: int) -> Deliver:
    """Return what sends the details of every match."""
    found = find(client.gateway, spec)
    if not found:
        raise no_definition()
    frames = [details_frame(client.gateway, one, req_id) for one in found]

    def deliver() -> None:
        for message, frame in frames:
            client.send_frame(message, frame)
        client.send(r.CONTRACT_DETAILS_END, req_id=req_id)

    return deliver


def details_frame(gateway: Gateway, instrument: Instrument, req_id: int) -> tuple[Message, bytes]:
    """Return the message that tells about one instrument, and its frame."""
    check_wanted()
    if instrument.bond is not None:
        message, about = r.BOND_DETAILS, bond_details(instrument)
    else:
        message, about = r.CONTRACT_DETAILS, details(gateway, instrument)
    return message, pack(message.fields({**about, "req_id": req_id}))


def details(gateway: Gateway, instrument: Instrument) -> Mapping[str, Any]:
    """Return the values of one contractDetails message."""
    home = instrument.time_zone_id
    today = times.day_of(gateway.clock.now(), home)
    days = [today + timedelta(days=n) for n in range(HOURS_DAYS)]
    hours = {
        name: times.hours_text(
            stretches(gateway, instrument, (days[0], days[-1]), use_rth=use_rth), days, home
        )
        for name, use_rth in (("trading_hours", False), ("liquid_hours", True))
    }
    return {
        **contract_record(instrument),
        **hours,
        "market_name": instrument.market_name,
        "min_tick": instrument.min_tick,
        "order_types": instrument.order_types,
        "valid_exchanges": ",".join(instrument.valid_exchanges),
        "price_magnifier": instrument.price_magnifier,
        "under_con_id": instrument.under_con_id,
        "long_name": instrument.long_name,
        "contract_month": instrument.contract_month,
        "industry": instrument.industry,
        "category": instrument.category,
        "subcategory": instrument.subcategory,
        "time_zone_id": home,
        "sec_ids": list(instrument.sec_ids),
        "agg_group": instrument.agg_group,
        "under_symbol": instrument.under_symbol,
        "under_sec_type": instrument.under_sec_type,
        "market_rule_ids": ",".join(map(str, instrument.market_rule_ids)),
        "real_expiration_date": instrument.real_expiration_date,
        "stock_type": instrument.stock_type,
        "min_size": instrument.min_size,
        "size_increment": instrument.size_increment,
        "suggested_size_increment": instrument.suggested_size_increment,
    }


def stretches(
    gateway: Gateway, instrument: Instrument, span: tuple[date, date], *, use_rth: bool
) -> list[Session]:
    """Return the sessions of a span of days, in two parts where there is a lunch break."""
    found: list[Session] = []
    for session in gateway.market.sessions(instrument, *span, use_rth):
        blocks = gateway.market.blocks(instrument, session.ref_date)
        parts: list[Session] = []
        for block in blocks:
            if use_rth and not block.rth:
                continue
            start = parts.pop().start if parts and parts[-1].end == block.start else block.start
            parts.append(Session(start, block.end, session.ref_date))
        whole = parts and (parts[0].start, parts[-1].end) == (session.start, session.end)
        found += parts if whole else [session]
    return found


def bond_details(instrument: Instrument) -> Mapping[str, Any]:
    """Return the values of one bondContractDetails message; it names no symbol."""
    bond = instrument.bond
    assert bond is not None
    return {
        "symbol": "",
        "sec_type": instrument.sec_type,
        "cusip": bond.cusip,
        "coupon": int(bond.coupon) if bond.coupon.is_integer() else bond.coupon,
        "maturity": bond.maturity,
        "issue_date": bond.issued,
        "ratings": bond.ratings,
        "bond_type": bond.kind,
        "coupon_type": "FIXED",
        "convertible": False,
        "callable": bond.callable,
        "putable": False,
        "desc_append": bond.description,
        "exchange": instrument.exchange,
        "currency": instrument.currency,
        "market_name": instrument.market_name,
        "trading_class": instrument.trading_class,
        "con_id": instrument.con_id,
        "min_tick": instrument.min_tick,
        "order_types": instrument.order_types,
        "valid_exchanges": ",".join(instrument.valid_exchanges),
        "next_option_date": "",
        "next_option_type": "",
        "next_option_partial": False,
        "notes": "",
        "long_name": instrument.long_name,
        "sec_ids": list(instrument.sec_ids),
        "agg_group": instrument.agg_group,
        "market_rule_ids": ",".join(map(str, instrument.market_rule_ids)),
        "min_size": instrument.min_size,
        "size_increment": instrument.size_increment,
        "suggested_size_increment": instrument.suggested_size_increment,
    }


def req_matching_symbols(client: Client, values: Record) -> None:
    """Answer with what the pattern could mean; nothing is an empty list, not an error."""
    samples = [
        {
            "con_id": found.con_id,
            "symbol": found.symbol,
            "sec_type": found.sec_type,
            "primary_exchange": found.primary_exchange,
            "currency": found.currency,
            "derivatives": [(kind,) for kind in derivatives(client.gateway, found)],
            "description": found.long_name,
        }
        for found in client.gateway.universe.matching(values["pattern"])[:MAX_SAMPLES]
    ]
    client.send(r.SYMBOL_SAMPLES, req_id=values["req_id"], samples=samples)


def derivatives(gateway: Gateway, instrument: Instrument) -> list[str]:
    """Return which kinds of contracts there are on an instrument."""
    universe = gateway.universe
    on = {one.sec_type for one in universe.instruments if one.under_con_id == instrument.con_id}
    on |= {one.sec_type for one in universe.options_on(instrument)}
    named = {one.spec.ib_symbol for one in universe.products.values()}
    if instrument.sec_type == "IND" and instrument.symbol in named:
        on.add("FUT")
    return sorted(on | ({"BAG"} if on else set()))


def req_market_rule(client: Client, values: Record) -> None:
    """Answer with the price steps of a rule."""
    rule = client.gateway.universe.market_rule(values["rule_id"])
    if rule is None:
        raise invalid(f"No market rule is available for id {values['rule_id']}")
    steps = [{"low_edge": low, "increment": step} for low, step in rule]
    client.send(r.MARKET_RULE, rule_id=values["rule_id"], steps=steps)


# the exchanges of US stocks, by the letter that their quotes carry
LETTERS: Final = (
    *(("AMEX", "A"), ("NYSENAT", "C"), ("FINRA", "D"), ("ISE", "I"), ("EDGEA", "J")),
    *(("DRCTEDGE", "K"), ("CHX", "M"), ("NYSE", "N"), ("ARCA", "P"), ("NASDAQ", "Q")),
    *(("MEMX", "U"), ("IEX", "V"), ("CBOE", "W"), ("PSX", "X"), ("BYX", "Y"), ("BATS", "Z")),
)
BBO_KEYS: Final = frozenset({"9c0001", "a60001"})


def req_smart_components(client: Client, values: Record) -> None:
    """Answer with the exchanges behind the letters of a key; an unknown key has none."""
    known = values["bbo_exchange"] in BBO_KEYS
    rows = [(bit, *row) for bit, row in enumerate(LETTERS)] if known else []
    client.send(r.SMART_COMPONENTS, req_id=values["req_id"], components=rows)


HANDLERS: Final = {
    "req_contract_details": req_contract_details,
    "req_matching_symbols": req_matching_symbols,
    "req_market_rule": req_market_rule,
    "req_smart_components": req_smart_components,
}
