from datetime import UTC, datetime
from decimal import Decimal

import pytest

from ibkit.sim.account import Account
from ibkit.sim.exchange import Exchange, OrderRequest
from ibkit.sim.market import Market
from ibkit.sim.universe import Universe

NOW = datetime(2026, 11, 18, 16, tzinfo=UTC).timestamp()


@pytest.fixture(scope="module")
def universe():
    return Universe.load()


@pytest.fixture(scope="module")
def market(universe):
    return Market(universe)


@pytest.fixture
def account():
    return Account()


@pytest.fixture
def trade(universe, market, account):
    exchange = Exchange(universe, market, account)
    ids = iter(range(1, 1000))

    def do(instrument, action, quantity, now=NOW):
        exchange.place(
            OrderRequest(1, next(ids), instrument, action, Decimal(quantity), "MKT"), now
        )
        return exchange.executions()[-1]

    return do


def apple_of(universe):
    return universe.by_con_id(265598)


def es_of(universe):
    from datetime import date

    return universe.chain("ES", date(2026, 12, 1), date(2026, 12, 31))[0]


def test_a_new_account_has_a_million_and_nothing_else(account, market):
    sums = account.sums(market, NOW)

    assert (sums.equity, sums.cash, sums.gross) == (Decimal(1_000_000), Decimal(1_000_000), 0)
    assert account.positions() == []


def test_shares_are_paid_for_in_cash_and_are_worth_their_price(universe, market, account, trade):
    fill = trade(apple_of(universe), "BUY", 100)

    (row,) = account.portfolio(market, NOW)
    assert account.cash["USD"] == Decimal(1_000_000) - 100 * fill.price - fill.commission
    assert row.position.quantity == 100
    assert row.avg_cost == fill.price + fill.commission / 100
    assert row.market_value == 100 * row.market_price
    assert row.position.instrument.exchange == "NASDAQ"


def test_futures_pay_no_principal_and_count_their_multiplier(universe, market, account, trade):
    fill = trade(es_of(universe), "BUY", 2)

    (row,) = account.portfolio(market, NOW)
    assert account.cash["USD"] == Decimal(1_000_000) - fill.commission
    assert row.avg_cost == fill.price * 50 + fill.commission / 2
    assert account.sums(market, NOW).futures_pnl == row.unrealized + fill.commission
    assert fill.commission == Decimal("4.50")


def test_closing_realises_what_was_won_and_reports_it_less_the_fee(universe, account, trade):
    bought = trade(es_of(universe), "BUY", 1)
    sold = trade(es_of(universe), "SELL", 1, NOW + 3600)

    won = (sold.price - bought.price) * 50
    assert bought.realized_pnl is None
    assert sold.realized_pnl == won - bought.commission - sold.commission
    assert account.cash["USD"] == Decimal(1_000_000) + won - bought.commission - sold.commission
    (closed,) = account.positions()
    assert (closed.quantity, closed.avg_cost) == (0, 0)
    assert closed.realized == sold.realized_pnl


def test_selling_more_than_is_held_turns_the_position_round(universe, account, trade):
    trade(apple_of(universe), "BUY", 100)
    sold = trade(apple_of(universe), "SELL", 150, NOW + 60)

    (position,) = account.positions()
    assert position.quantity == -50
    assert position.avg_cost == pytest.approx(sold.price - sold.commission / 150)
    assert position.fees == pytest.approx(sold.commission / 3)


def test_a_currency_pair_moves_both_currencies(universe, market, account, trade):
    euro = universe.by_con_id(12087792)
    fill = trade(euro, "BUY", 20_000)

    assert account.cash["EUR"] == 20_000
    assert account.cash["USD"] == Decimal(1_000_000) - 20_000 * fill.price - fill.commission
    assert abs(account.sums(market, NOW).equity - 1_000_000) < 10
    assert account.currencies() == ["USD", "EUR"]


def test_pence_are_pence(universe, market, account, trade):
    (vodafone,) = [one for one in universe.instruments if one.symbol == "VOD"]
    fill = trade(vodafone, "BUY", 1000)

    assert account.cash["GBP"] == -(10 * fill.price) - fill.commission
    assert abs(account.sums(market, NOW).equity - 1_000_000) < 10


def test_the_tables_have_the_keys_of_a_real_gateway_in_order(universe, market, account, trade):
    trade(universe.by_con_id(12087792), "BUY", 20_000)

    rows = account.values(market, NOW)

    keys = [(key, currency) for key, _, currency in rows]
    assert keys == sorted(keys)
    assert len(keys) == len(set(keys))
    for key in (
        "AccountCode",
        "NetLiquidation",
        "BuyingPower",
        "CashBalance",
        "Cushion",
        "InitMarginReq-C",
    ):
        assert key in {name for name, _ in keys}
    assert {currency for key, currency in keys if key == "CashBalance"} == {"BASE", "EUR", "USD"}
    assert ("CashBalance", "20000.00", "EUR") in rows


def test_the_summary_has_its_tags_and_then_the_ledger(market, account):
    rows = {
        (tag, currency): value for tag, value, currency in account.values(market, NOW, "summary")
    }

    assert rows["NetLiquidation", "USD"] == "1000000.00"
    assert rows["BuyingPower", "USD"] == "4000000.00"
    assert rows["ExchangeRate", "USD"] == "1.00"
    assert rows["Cushion", ""] == "1"


def test_profit_and_loss_of_the_day_and_of_one_position(universe, market, account, trade):
    account.begin_day(market, NOW)
    fill = trade(apple_of(universe), "BUY", 100)
    later = NOW + 3600

    daily, unrealized, realized = account.pnl(market, later)
    quantity, _, single, _, value = account.pnl_single(265598, market, later)

    assert daily == unrealized
    assert realized == 0
    assert (quantity, single) == (100, unrealized)
    assert value == 100 * fill.price + fill.commission + unrealized
    assert account.pnl_single(1, market, NOW) is None


def test_a_new_day_begins_with_the_equity_of_its_midnight(universe, market, account, trade):
    fill = trade(apple_of(universe), "BUY", 100)
    midnight = datetime(2026, 11, 19, 5, tzinfo=UTC).timestamp()
    later = midnight + 12 * 3600

    daily, _, _ = account.pnl(market, later)

    (before,), (now,) = (account.portfolio(market, when) for when in (midnight, later))
    assert daily == 100 * (now.market_price - before.market_price)
    assert account.equity_at_open(market, later) == 1_000_000 + before.unrealized
    assert fill.commission == 1
