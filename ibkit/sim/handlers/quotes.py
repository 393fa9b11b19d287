"""Requests for live prices: subscribe, snapshot, cancel, and the kind of market data.

Not here: what a client is entitled to (`handlers.lines`), the ticks themselves
(`ibkit.sim.quotes`, `ibkit.sim.generics`) and their rhythm (`ibkit.sim.stream`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ibkit.sim.generics import legal
from ibkit.sim.handlers import lines
from ibkit.sim.handlers.reading import contract_of
from ibkit.sim.handlers.refusal import RefusedError, invalid
from ibkit.sim.quotes import Subscription
from ibkit.sim.wire import Record
from ibkit.sim.wire import replies as r

if TYPE_CHECKING:
    from ibkit.sim.clients import Client

NEWS_TICK: Final = 292
DATA_TYPES: Final = range(1, 5)


def req_mkt_data(client: Client, values: Record) -> None:
    """Open a line: the first ticks at once, then changes; a snapshot gets the first and an end."""
    req_id, limits = values["req_id"], client.gateway.limits
    if req_id in client.streams.quotes:
        raise RefusedError(102, "Duplicate ticker ID.")
    if values["snapshot"] and values["generic_ticks"].strip():
        raise RefusedError(
            414, "Snapshot market data subscription is not applicable to generic ticks."
        )
    if limits.lines and len(client.streams.quotes) >= limits.lines:
        raise RefusedError(101, "Max number of tickers has been reached.")
    instrument, legs = contract_of(client, values)
    if legs:
        client.gateway.exchange.watch.learn(instrument, legs)
    if instrument.sec_type == "CFD" and instrument.under_con_id:
        reroute(client, req_id, instrument.under_con_id)
        return
    generic, providers = read_generic(values["generic_ticks"], instrument.sec_type)
    sub = Subscription(req_id, instrument, generic, news_from=providers)
    sub.wanted_type = client.market_data_type
    sub.news_since = client.gateway.clock.now()
    if not lines.begin(client, sub):
        return
    if values["snapshot"] or values["regulatory_snapshot"]:
        client.send(r.SNAPSHOT_END, req_id=req_id)
        return
    client.streams.quotes[req_id] = sub
    client.gateway.stream.wake()


def reroute(client: Client, req_id: int, under_con_id: int) -> None:
    """Tell the client of a CFD to ask for the underlying instead."""
    under = client.gateway.universe.by_con_id(under_con_id)
    exchange = under.exchange if under is not None else "SMART"
    client.send(r.REROUTE_MKT_DATA, req_id=req_id, con_id=under_con_id, exchange=exchange)


def read_generic(text: str, sec_type: str) -> tuple[frozenset[int], frozenset[str]]:
    """Return the generic ticks of a list like ``100,233,mdoff`` and the news providers in it."""
    known = legal(sec_type)
    numbers, providers, wrong = set(), set(), []
    for word in (part.strip() for part in text.split(",")):
        number, _, provider = word.partition(":")
        if not word or word == "mdoff":
            continue
        if number.isdecimal() and int(number) in known and (not provider or number == "292"):
            numbers.add(int(number))
            providers |= set(provider.split("+")) - {""}
        else:
            wrong.append(word)
    if wrong:
        names = ",".join(f"{number}({name})" for number, name in known.items())
        raise invalid(
            f"Incorrect generic tick list of {','.join(wrong)}.  Legal ones for ({sec_type}) "
            f"are: {names}"
        )
    return frozenset(numbers), frozenset(providers)


def cancel_mkt_data(client: Client, values: Record) -> None:
    """Close a line at once, silently."""
    if client.streams.quotes.pop(values["req_id"], None) is None:
        raise RefusedError(300, f"Can't find EId with tickerId:{values['req_id']}")


def req_market_data_type(client: Client, values: Record) -> None:
    """Remember the wish, silently, whatever it is; open lines change with it if they can."""
    if values["market_data_type"] not in DATA_TYPES:
        return
    client.market_data_type = values["market_data_type"]
    for sub in tuple(client.streams.quotes.values()):
        sub.wanted_type = client.market_data_type
        lines.retell(client, sub)


HANDLERS: Final = {
    "req_mkt_data": req_mkt_data,
    "cancel_mkt_data": cancel_mkt_data,
    "req_market_data_type": req_market_data_type,
}
