"""Requests about the account: values, positions, summary, profit and loss.

Not here: the bookkeeping (`ibkit.sim.account`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ibkit.sim import times
from ibkit.sim.account import make_row
from ibkit.sim.clients import NOTICE
from ibkit.sim.contracts import contract_record
from ibkit.sim.handlers.refusal import RefusedError, invalid, unprocessed
from ibkit.sim.handlers.session import accept
from ibkit.sim.orders import ZERO
from ibkit.sim.values import LEDGER
from ibkit.sim.wire import Record
from ibkit.sim.wire import replies as r

if TYPE_CHECKING:
    from collections.abc import Collection

    from ibkit.sim.account import Account, PortfolioRow, Position
    from ibkit.sim.clients import Client

MAX_SUMMARIES: Final = 2
BASE: Final = "BASE"
UNSUBSCRIBED: Final = (
    "New account data requested from TWS.  API client has been unsubscribed from account data."
)
NO_PRIMARY: Final = frozenset({"FUT", "FOP", "OPT", "CASH"})


def members(client: Client, name: str) -> list[Account]:
    """Return the accounts that a request means; empty means the only one, or all of them."""
    found = client.gateway.exchange.household.group(name)
    if not found:
        raise invalid(f"Invalid account code '{name}'")
    return found


def the_account(client: Client, name: str) -> Account:
    """Return the one account that a request means: of several the first."""
    return members(client, name)[0]


# --- values and portfolio -----------------------------------------------------------------------


def req_account_updates(client: Client, values: Record) -> None:
    """Start or stop the account's values and portfolio; one account at a time."""
    streams = client.streams
    name = the_account(client, values["account"]).account_id
    if not values["subscribe"]:
        streams.account = ""
        return
    if streams.account not in {"", name}:
        client.error(NOTICE, 2100, UNSUBSCRIBED)
    streams.account, streams.account_told = name, {}
    refresh(client, client.gateway.clock.now())
    client.send(r.ACCOUNT_DOWNLOAD_END, account=name)
    client.gateway.stream.wake()


def refresh(client: Client, now: float) -> None:
    """Send values that changed, and the portfolio, to a client that has subscribed to them."""
    name, gateway, told = client.streams.account, client.gateway, client.streams.account_told
    client.streams.account_changed = False
    if not name:
        return
    account, market = gateway.exchange.household.of(name), gateway.market
    clock = times.utc_text(now, "%H:%M")
    for key, value, currency in account.values(market, now, kind="updates"):
        if told.get((key, currency)) != value:
            told[key, currency] = value
            client.send(r.ACCOUNT_VALUE, key=key, value=value, currency=currency, account=name)
    for row in account.portfolio(market, now):
        send_row(client, row, name)
        client.send(r.ACCOUNT_TIME, time=clock)
    client.send(r.ACCOUNT_TIME, time=clock)


def send_row(client: Client, row: PortfolioRow, account: str) -> None:
    """Send one row of a portfolio."""
    client.send(
        r.PORTFOLIO,
        contract=contract_record(row.position.instrument),
        position=row.position.quantity,
        market_price=row.market_price,
        market_value=row.market_value,
        average_cost=row.avg_cost,
        unrealized_pnl=row.unrealized,
        realized_pnl=row.realized,
        account=account,
    )


def req_account_updates_multi(client: Client, values: Record) -> None:
    """Answer with the values of one account under a request id."""
    gateway = client.gateway
    for account in members(client, values["account"]):
        rows = account.values(gateway.market, gateway.clock.now(), kind="multi")
        for key, value, currency in rows:
            if values["ledger_and_nlv"] and key not in {*LEDGER, "NetLiquidation"}:
                continue
            client.send(
                r.ACCOUNT_MULTI,
                req_id=values["req_id"],
                account=account.account_id,
                model_code=values["model_code"],
                key=key,
                value=value,
                currency=currency,
            )
    client.send(r.ACCOUNT_MULTI_END, req_id=values["req_id"])


def req_account_summary(client: Client, values: Record) -> None:
    """Answer with the tags asked for; at most two summaries may be open."""
    gateway, summaries = client.gateway, client.streams.summaries
    if len(summaries) >= MAX_SUMMARIES and values["req_id"] not in summaries:
        raise unprocessed(
            "Maximum number of account summary requests exceeded; "
            "desubscribe to previous request first"
        )
    tags = tuple(tag.strip() for tag in values["tags"].split(",") if tag.strip())
    summaries[values["req_id"]] = tags
    for account in members(client, values["group"]):
        rows = account.values(gateway.market, gateway.clock.now(), kind="summary")
        for tag, value, currency in dict.fromkeys(rows):
            if wanted(tag, currency, tags):
                client.send(
                    r.ACCOUNT_SUMMARY,
                    req_id=values["req_id"],
                    account=account.account_id,
                    tag=tag,
                    value=value,
                    currency=currency,
                )
    client.send(r.ACCOUNT_SUMMARY_END, req_id=values["req_id"])


def wanted(tag: str, currency: str, tags: tuple[str, ...]) -> bool:
    """Whether a summary row was asked for, by name or through ``$LEDGER[:currency or ALL]``."""
    if tag in tags:
        return currency != BASE
    ledgers = {name.partition(":")[2] or BASE for name in tags if name.startswith("$LEDGER")}
    return tag in LEDGER and bool(ledgers & {"ALL", currency})


def cancel_account_summary(client: Client, values: Record) -> None:
    """Stop a summary."""
    client.streams.summaries.pop(values["req_id"], None)


def held(position: Position) -> Record:
    """Return the contract of a position: the primary exchange of stocks, none of derivatives."""
    instrument = position.instrument
    exchange = "" if instrument.sec_type in NO_PRIMARY else instrument.primary_exchange
    return {**contract_record(instrument, exchange), "right": instrument.right}


def send_positions(client: Client, only: Collection[tuple[str, int]] | None = None) -> None:
    """Send positions, those closed today too: all, or those of some (account, conId)."""
    for account in client.gateway.exchange.household.accounts.values():
        for position in account.positions():
            if only is None or (account.account_id, position.instrument.con_id) in only:
                client.send(
                    r.POSITION,
                    account=account.account_id,
                    contract=held(position),
                    position=position.quantity,
                    avg_cost=position.avg_cost,
                )


def req_positions(client: Client, _values: Record) -> None:
    """Answer with the positions; later ones are pushed."""
    client.streams.positions = True
    send_positions(client)
    client.send(r.POSITION_END)


def cancel_positions(client: Client, _values: Record) -> None:
    """Stop the pushes."""
    client.streams.positions = False


def req_positions_multi(client: Client, values: Record) -> None:
    """Answer with the positions of one account under a request id."""
    for account in members(client, values["account"]):
        for position in account.positions():
            client.send(
                r.POSITION_MULTI,
                req_id=values["req_id"],
                account=account.account_id,
                contract=held(position),
                position=position.quantity,
                avg_cost=position.avg_cost,
                model_code=values["model_code"],
            )
    client.send(r.POSITION_MULTI_END, req_id=values["req_id"])


def push_after_fill(client: Client, changed: Collection[tuple[str, int]]) -> None:
    """Send what fills of (account, conId) changed to those who subscribed to it.

    The many account values follow within a second: they are made once for all fills until then.
    """
    gateway, streams = client.gateway, client.streams
    if streams.positions:
        send_positions(client, changed)
    if not streams.account:
        return
    streams.account_changed = True
    account, now = gateway.exchange.household.of(streams.account), gateway.clock.now()
    for position in account.positions():
        if (account.account_id, position.instrument.con_id) in changed:
            send_row(client, make_row(gateway.market, position, now), account.account_id)


# --- profit and loss ----------------------------------------------------------------------------


def req_pnl(client: Client, values: Record) -> None:
    """Start the account's profit and loss."""
    found = members(client, values["account"])
    client.streams.pnl[values["req_id"]] = (found, None)
    send_pnl(client, client.gateway.clock.now(), only=values["req_id"])
    client.gateway.stream.wake()


def req_pnl_single(client: Client, values: Record) -> None:
    """Start the profit and loss of one position."""
    found = members(client, values["account"])
    client.streams.pnl[values["req_id"]] = (found, values["con_id"])
    send_pnl(client, client.gateway.clock.now(), only=values["req_id"])
    client.gateway.stream.wake()


def each_second(client: Client, now: float) -> None:
    """Send profit and loss, and the account values that fills have changed."""
    send_pnl(client, now)
    if client.streams.account_changed:
        refresh(client, now)


def send_pnl(client: Client, now: float, only: int | None = None) -> None:
    """Send profit and loss to those who asked."""
    for req_id, (found, con_id) in tuple(client.streams.pnl.items()):
        if only not in {None, req_id}:
            continue
        if con_id is None:
            market = client.gateway.market
            rows = [account.pnl(market, now) for account in found]
            daily, unrealized, realized = (sum(column, ZERO) for column in zip(*rows, strict=True))
            client.send(r.PNL, req_id=req_id, daily=daily, unrealized=unrealized, realized=realized)
        else:
            send_pnl_single(client, req_id, con_id, found, now)


def send_pnl_single(
    client: Client, req_id: int, con_id: int, found: list[Account], now: float
) -> None:
    """Send the profit and loss of one position, over some accounts."""
    rows = [account.pnl_single(con_id, client.gateway.market, now) for account in found]
    known = [row for row in rows if row is not None]
    if not known:
        client.error(req_id, 2150, "Invalid position trade derived value")
        client.send(r.PNL_SINGLE, req_id=req_id, position=0)
        return
    sums = [sum(column, ZERO) for column in zip(*known, strict=True)]
    keys = ("position", "daily", "unrealized", "realized", "value")
    client.send(r.PNL_SINGLE, dict(zip(keys, sums, strict=True)), req_id=req_id)


def cancel_pnl(client: Client, values: Record) -> None:
    """Stop the account's profit and loss."""
    if client.streams.pnl.pop(values["req_id"], 0) == 0:
        raise RefusedError(10185, "Failed to cancel PNL (not subscribed)")


def cancel_pnl_single(client: Client, values: Record) -> None:
    """Stop the profit and loss of one position."""
    if client.streams.pnl.pop(values["req_id"], 0) == 0:
        raise RefusedError(10186, "Failed to cancel PNL single (not subscribed)")


HANDLERS: Final = {
    "req_account_updates": req_account_updates,
    "req_account_updates_multi": req_account_updates_multi,
    "cancel_account_updates_multi": accept,
    "req_account_summary": req_account_summary,
    "cancel_account_summary": cancel_account_summary,
    "req_positions": req_positions,
    "cancel_positions": cancel_positions,
    "req_positions_multi": req_positions_multi,
    "cancel_positions_multi": accept,
    "req_pnl": req_pnl,
    "cancel_pnl": cancel_pnl,
    "req_pnl_single": req_pnl_single,
    "cancel_pnl_single": cancel_pnl_single,
}
