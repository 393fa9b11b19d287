"""Account values, positions, summary, profit and loss over the socket."""

import math

import ib_async
import pytest

ACCOUNT = "DUSIM0001"
APPLE = ib_async.Stock("AAPL", "SMART", "USD", conId=265598)


@pytest.fixture
def invested(ib, wait):
    """A client that holds ten shares."""
    trade = ib.placeOrder(APPLE, ib_async.MarketOrder("BUY", 10))
    wait(ib, lambda: trade.isDone() and ib.portfolio() and ib.positions())
    return ib


def test_account_values_are_there_after_connecting(ib):
    values = {value.tag: value for value in ib.accountValues()}

    assert values["NetLiquidation"].account == ACCOUNT
    assert float(values["NetLiquidation"].value) > 0
    assert values["AccountReady"].value == "true"
    assert ib.positions() == []


def test_the_start_up_takes_no_time_out(connect_ib):
    ib = connect_ib(timeout=2, raiseSyncErrors=True)

    assert ib.managedAccounts() == [ACCOUNT]
    assert len(ib.accountValues()) > 50


def test_a_position_comes_with_its_portfolio_item(invested):
    [item] = invested.portfolio()

    assert (item.contract.symbol, item.position) == ("AAPL", 10)
    assert item.marketValue == pytest.approx(10 * item.marketPrice)


def test_positions_can_be_asked_for_by_account(wire, invested):
    wire.send(74, 1, 5, ACCOUNT, "")
    frames = wire.until(72, 1, 5)

    assert [frame[:5] for frame in frames[:-1]] == [["71", "3", "5", ACCOUNT, "265598"]]


@pytest.mark.parametrize("account", ["DU999", "U1"])
def test_another_account_is_refused(wire, account):
    wire.send(74, 1, 5, account, "")

    assert wire.until(4, 2, 5, 321)


def test_a_summary_has_the_tags_that_were_asked_for(wire):
    wire.send(62, 1, 5, "All", "NetLiquidation,BuyingPower,$LEDGER:USD")
    frames = wire.until(64, 1, 5)

    rows = [(frame[4], frame[6]) for frame in frames[:-1]]
    assert {("BuyingPower", "USD"), ("NetLiquidation", "USD"), ("CashBalance", "USD")} <= {*rows}
    assert len(rows) == len({*rows})
    assert "BASE" not in {currency for _, currency in rows}


def test_a_third_summary_is_refused_until_one_is_cancelled(wire):
    for req_id in (1, 2, 3):
        wire.send(62, 1, req_id, "All", "NetLiquidation")
    wire.until(4, 2, 3, 322)
    wire.send(63, 1, 1)
    wire.send(62, 1, 3, "All", "NetLiquidation")

    assert wire.until(64, 1, 3)


def test_ib_asyncs_summary_is_complete(ib):
    summary = {(value.tag, value.currency) for value in ib.accountSummary()}

    assert {("NetLiquidation", "USD"), ("CashBalance", "BASE")} <= summary


def test_ledger_and_net_liquidation_is_a_short_list(wire):
    wire.send(76, 1, 5, ACCOUNT, "", 1)
    short = wire.until(74, 1, 5)
    wire.send(76, 1, 6, ACCOUNT, "", 0)

    assert 3 < len(short) < len(wire.until(74, 1, 6))


def test_profit_and_loss_comes_at_once_and_again(invested, wait):
    pnl = invested.reqPnL(ACCOUNT)
    single = invested.reqPnLSingle(ACCOUNT, "", 265598)
    wait(invested, lambda: not (math.isnan(single.value) or math.isnan(pnl.dailyPnL)))

    assert single.position == 10
    invested.cancelPnL(ACCOUNT)
    invested.cancelPnLSingle(ACCOUNT, "", 265598)


def test_the_profit_of_what_is_not_held_is_unset_with_2150(wire):
    wire.send(94, 5, ACCOUNT, "", 272093)

    assert wire.until(95, 5)[0][:4] == ["4", "2", "5", "2150"]


def test_a_closed_position_is_still_told_with_0(invested, wire, wait):
    trade = invested.placeOrder(APPLE, ib_async.MarketOrder("SELL", 10))
    wait(invested, trade.isDone)
    wire.send(61, 1)

    [position, _] = wire.until(62)
    assert position[-2:] == ["0", "0"] or [float(text) for text in position[-2:]] == [0, 0]


def test_account_updates_stop_when_told(wire):
    wire.send(6, 2, 1, ACCOUNT)
    wire.until(54, 1, ACCOUNT)
    wire.send(6, 2, 0, ACCOUNT)
    wire.send(49, 1)

    assert [frame[0] for frame in wire.until(49)] == ["49"]
