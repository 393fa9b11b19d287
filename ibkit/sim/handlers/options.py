"""Requests about options: chains, exercise, and what a price or a volatility implies.

Not here: the arithmetic (`ibkit.sim.greeks`), what exercise does (`ibkit.sim.exchange`).
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

from ibkit.sim import greeks, times
from ibkit.sim.handlers import orders
from ibkit.sim.handlers.instruments import resolve
from ibkit.sim.handlers.refusal import RefusedError, invalid
from ibkit.sim.handlers.session import accept
from ibkit.sim.optionmarket import carried
from ibkit.sim.wire import Record
from ibkit.sim.wire import replies as r

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ibkit.sim.clients import Client
    from ibkit.sim.instrument import Instrument
    from ibkit.sim.server import Gateway

OPTIONS: Final = frozenset({"OPT", "FOP"})
EXERCISE, LAPSE = 1, 2


def req_sec_def_opt_params(client: Client, values: Record) -> None:
    """Answer with a row for each exchange and trading class, then an end; with none, only that."""
    under = client.gateway.universe.by_con_id(values["under_con_id"] or 0)
    if under is not None and values["under_symbol"] in {"", under.symbol, *under.aliases}:
        for (exchange, name, multiplier), (days, strikes) in chains(
            client.gateway, under, values
        ).items():
            client.send(
                r.SEC_DEF_OPT_PARAMS,
                req_id=values["req_id"],
                exchange=exchange,
                under_con_id=under.con_id,
                trading_class=name,
                multiplier=multiplier,
                expirations=[(day,) for day in sorted(days)],
                strikes=[(strike,) for strike in sorted(strikes)],
            )
    client.send(r.SEC_DEF_OPT_PARAMS_END, req_id=values["req_id"])


def chains(
    gateway: Gateway, under: Instrument, values: Record
) -> dict[tuple[str, str, str], tuple[set[str], set[float]]]:
    """Return expiries and strikes on `under` by exchange, trading class and multiplier."""
    today = times.day_of(gateway.clock.now(), "US/Eastern")
    found: defaultdict[tuple[str, str, str], tuple[set[str], set[float]]]
    found = defaultdict(lambda: (set(), set()))
    for option in listed_singly(gateway, under):
        for exchange in option.valid_exchanges or (option.exchange,):
            days, strikes = found[exchange, option.trading_class, option.multiplier]
            days.add(option.last_trade_date)
            strikes.add(option.strike)
    for one in gateway.universe.options_on(under):
        listed = [day for day in one.expiries(today) if one.under_on(day).con_id == under.con_id]
        if not listed:
            continue
        all_days = {f"{day:%Y%m%d}" for day in listed}
        all_strikes = {strike for day in listed for strike in one.strikes(day, today)}
        for exchange in one.venues:
            found[exchange, one.name, one.multiplier] = (all_days, all_strikes)
    wanted = values["fut_fop_exchange"]
    return {key: found[key] for key in sorted(found) if wanted in {"", key[0]}}


def listed_singly(gateway: Gateway, under: Instrument) -> Iterable[Instrument]:
    """Return every living option on `under` that is no part of a chain of the file."""
    today = times.day_of(gateway.clock.now(), "US/Eastern")
    kind = "FOP" if under.sec_type == "FUT" else "OPT"
    return [
        one
        for one in gateway.universe.instruments
        if (one.sec_type, one.symbol, one.currency) == (kind, under.symbol, under.currency)
        and one.under_con_id in {0, under.con_id}
        and (one.expiry is None or one.expiry >= today)
    ]


def calculate_implied_volatility(client: Client, values: Record) -> None:
    """Answer with the volatility and the Greeks at a price."""
    option = the_option(client, values)
    spot, now = float(values["under_price"]), client.gateway.clock.now()
    found = greeks.at_price(option, float(values["option_price"]), spot, now)
    send_computation(client, values, found, spot)


def calculate_option_price(client: Client, values: Record) -> None:
    """Answer with the price and the Greeks at a volatility."""
    option = the_option(client, values)
    spot, years = (
        float(values["under_price"]),
        greeks.years_left(option, client.gateway.clock.now()),
    )
    if values["volatility"] <= 0:
        raise invalid("Volatility must be positive.")
    asset = float(carried(option, spot, years))
    found = greeks.value(asset, option.strike, years, float(values["volatility"]), option.right)
    send_computation(client, values, found, spot)


def the_option(client: Client, values: Record) -> Instrument:
    """Return the option of a request, or refuse what is none."""
    instrument = resolve(client.gateway, values)
    if instrument.sec_type not in OPTIONS:
        raise invalid("The contract is no option.")
    return instrument


def send_computation(client: Client, values: Record, found: greeks.Greeks, spot: float) -> None:
    """Send a computation under the number that stands for "as asked"."""
    computed = greeks.Computation(greeks.CUSTOM, found, spot)
    client.send_line(r.TICK_OPTION, (values["req_id"], computed.kind, *computed.values()))


def exercise_options(client: Client, values: Record) -> None:
    """Exercise or give up options that are held; the exchange says what happens."""
    gateway = client.gateway
    option = the_option(client, values)
    if values["action"] not in {EXERCISE, LAPSE}:
        raise invalid("Invalid exercise action.")
    if values["quantity"] <= 0:
        raise RefusedError(434, "The order size cannot be zero.")
    events = gateway.exchange.exercise(
        client.client_id,
        values["req_id"],
        option,
        values["quantity"],
        gateway.clock.now(),
        account=values["account"],
        lapse=values["action"] == LAPSE,
        override=bool(values["override"]),
    )
    orders.dispatch(gateway, events)


HANDLERS: Final = {
    "req_sec_def_opt_params": req_sec_def_opt_params,
    "calculate_implied_volatility": calculate_implied_volatility,
    "calculate_option_price": calculate_option_price,
    "cancel_calculate_implied_volatility": accept,
    "cancel_calculate_option_price": accept,
    "exercise_options": exercise_options,
}
