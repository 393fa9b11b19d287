"""Requests about the account: values, positions, summary, profit and loss.

Not here: the bookkeeping (`ibkit.sim.account`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from ibkit.sim import times
from ibkit.sim.contracts import contract_record
from ibkit.sim.handlers.refusal import RefusedError, invalid, unprocessed
from ibkit.sim.handlers.session import accept
from ibkit.sim.values import LEDGER
from ibkit.sim.wire import Record
from ibkit.sim.wire import replies as r

if TYPE_CHECKING:
    from ibkit.sim.account import Position
    from ibkit.sim.clients import Client

MAX_SUMMARIES: Final = 2
BASE: Final = "BASE"
NO_PRIMARY: Final = frozenset({"FUT", "FOP", "OPT", "CASH"})


def check_account(client: Client, name: str) -> str:
    """Return the account that a request names; empty means the only one."""
    mine: str = client.gateway.account.account_id
    if name not in {"", mine}:
        raise invalid(f"Invalid account code '{name}'")
    return mine


def req_account_updates(client: Client, values: Record) -> None:
    """Start or stop the account's values and portfolio."""
    account = check_account(client, values["account"])
    client.streams.account = account if values["subscribe"] else ""
    if values["subscribe"]:
        refresh(client, client.gateway.clock.now())
        client.send(r.ACCOUNT_DOWNLOAD_END, account=account)
        client.gateway.stream.wake()


def refresh(client: Client, now: float) -> None:
    """Send values and portfolio to a client that has subscribed to them."""
    account, gateway = client.streams.account, client.gateway
    if not account:
        return
    clock = times.utc_text(now, "%H:%M")
    for key, value, currency in gateway.account.values(gateway.market, now, kind="updates"):
        client.send(r.ACCOUNT_VALUE, key=key, value=value, currency=currency, account=account)
    for row in gateway.account.portfolio(gateway.market, now):
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
        client.send(r.ACCOUNT_TIME, time=clock)
    client.send(r.ACCOUNT_TIME, time=clock)


def req_account_updates_multi(client: Client, values: Record) -> None:
    """Answer with the values of one account under a request id."""
    gateway = client.gateway
    account = check_account(client, values["account"])
    rows = gateway.account.values(gateway.market, gateway.clock.now(), kind="multi")
    for key, value, currency in rows:
        if values["ledger_and_nlv"] and key not in {*LEDGER, "NetLiquidation"}:
            continue
        client.send(
            r.ACCOUNT_MULTI,
            req_id=values["req_id"],
            account=account,
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
    rows = gateway.account.values(gateway.market, gateway.clock.now(), kind="summary")
    for tag, value, currency in dict.fromkeys(rows):
        if wanted(tag, currency, tags):
            client.send(
                r.ACCOUNT_SUMMARY,
                req_id=values["req_id"],
                account=gateway.account.account_id,
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


def send_positions(client: Client) -> None:
    """Send every position, those closed today too."""
    account = client.gateway.account
    for position in account.positions():
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
    account = check_account(client, values["account"])
    for position in client.gateway.account.positions():
        client.send(
            r.POSITION_MULTI,
            req_id=values["req_id"],
            account=account,
            contract=held(position),
            position=position.quantity,
            avg_cost=position.avg_cost,
            model_code=values["model_code"],
        )
    client.send(r.POSITION_MULTI_END, req_id=values["req_id"])


def push_after_fill(client: Client) -> None:
    """Send positions and account values again to those who subscribed to them."""
    if client.streams.positions:
        send_positions(client)
    refresh(client, client.gateway.clock.now())


# --- profit and loss ----------------------------------------------------------------------------


def req_pnl(client: Client, values: Record) -> None:
    """Start the account's profit and loss."""
    check_account(client, values["account"])
    client.streams.pnl[values["req_id"]] = None
    send_pnl(client, client.gateway.clock.now(), only=values["req_id"])
    client.gateway.stream.wake()


def req_pnl_single(client: Client, values: Record) -> None:
    """Start the profit and loss of one position."""
    check_account(client, values["account"])
    client.streams.pnl[values["req_id"]] = values["con_id"]
    if send_pnl(client, client.gateway.clock.now(), only=values["req_id"]):
        client.gateway.stream.wake()


def send_pnl(client: Client, now: float, only: int | None = None) -> bool:
    """Send profit and loss to those who asked."""
    gateway = client.gateway
    for req_id, con_id in client.streams.pnl.items():
        if only not in {None, req_id}:
            continue
        if con_id is None:
            daily, unrealized, realized = gateway.account.pnl(gateway.market, now)
            client.send(r.PNL, req_id=req_id, daily=daily, unrealized=unrealized, realized=realized)
            continue
        row = gateway.account.pnl_single(con_id, gateway.market, now)
        if row is None:
            client.error(req_id, 2150, "Invalid position trade derived value")
            client.send(r.PNL_SINGLE, req_id=req_id, position=0)
        else:
            keys = ("position", "daily", "unrealized", "realized", "value")
            client.send(r.PNL_SINGLE, dict(zip(keys, row, strict=True)), req_id=req_id)
    return True


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
