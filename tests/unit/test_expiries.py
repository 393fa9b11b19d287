"""Options and futures at the end of their lives, what they must be covered by, and sub-accounts."""

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest

from ibkit.schema import BAR_SIZES
from ibkit.sim.account import Account
from ibkit.sim.combos import combination
from ibkit.sim.contracts import ContractSpec
from ibkit.sim.exchange import Exchange, Execution, OrderRequest, Refused
from ibkit.sim.household import Household, household
from ibkit.sim.market import Market
from ibkit.sim.orders import Leg
from ibkit.sim.screen import Quote
from ibkit.sim.universe import Universe

NOW = datetime(2026, 11, 18, 16, tzinfo=UTC).timestamp()
AFTER = datetime(2026, 11, 21, 12, tzinfo=UTC).timestamp()
PLAIN = Universe.load()
APPLE, SPX = PLAIN.by_con_id(265598), PLAIN.by_con_id(416904)


def option(con_id, right, strike, under=APPLE, expiry="20261120"):
    return replace(
        under,
        con_id=con_id,
        sec_type="OPT",
        strike=float(strike),
        right=right,
        multiplier="100",
        last_trade_date=expiry,
        under_con_id=under.con_id,
        min_size=Decimal(1),
        size_increment=Decimal(1),
        local_symbol=f"{under.symbol} {right}{strike}",
        model=APPLE.model,
    )


CALL, HIGH_CALL, PUT = option(1, "C", 95), option(2, "C", 110), option(3, "P", 95)
INDEX_CALL = option(4, "C", 95, SPX)
UNIVERSE = PLAIN.with_instruments([CALL, HIGH_CALL, PUT, INDEX_CALL])
PRICES = {1: 7.0, 2: 1.0, 3: 2.0, 4: 6.0}


class Still:
    """A market that stands still: 100, and options at what the test says."""

    universe, calendar = UNIVERSE, Market(UNIVERSE)

    def quote(self, instrument, at):
        last = PRICES.get(instrument.con_id, 100.0)
        return Quote(last, last, last, 1e4, 1e4, 100.0, 1e6, last, last, last, last, at)

    def bars(self, *_):
        raise LookupError

    def is_open(self, *arguments, **named):
        return self.calendar.is_open(*arguments, **named)

    def sessions(self, instrument, first, last, use_rth=True):  # noqa: FBT002  IB's field
        return self.calendar.sessions(instrument, first, last, use_rth)


@pytest.fixture
def exchange():
    return Exchange(UNIVERSE, Still(), Account())


def place(exchange, instrument, action, quantity, number=[0], **fields):  # noqa: B006  a counter
    number[0] += 1
    request = OrderRequest(
        1, number[0], instrument, action, Decimal(quantity), "MKT", tif="GTC", **fields
    )
    return exchange.place(request, NOW)


def held(exchange):
    account = exchange.account
    return {one.instrument.con_id: int(one.quantity) for one in account.positions() if one.quantity}


@pytest.mark.parametrize(
    ("bought", "action", "left", "cash"),
    [
        (CALL, "BUY", {265598: 200}, -200 * 95 - 2 * 700),
        (CALL, "SELL", {265598: -200}, 200 * 95 + 2 * 700),
        (HIGH_CALL, "BUY", {}, -2 * 100),
        (PUT, "BUY", {}, -2 * 200),
        (INDEX_CALL, "BUY", {}, 2 * 500 - 2 * 600),
    ],
)
def test_at_expiry_options_deliver_settle_in_cash_or_vanish(exchange, bought, action, left, cash):
    place(exchange, bought, action, 2)
    fees = sum(exchange.account.fees.values())

    events = exchange.tick(AFTER)

    assert held(exchange) == left
    assert exchange.account.cash["USD"] == 1_000_000 + cash - fees
    assert len([one for one in events if isinstance(one, Execution)]) == (2 if left else 1)


def test_a_morning_option_is_settled_by_the_opening_after_its_last_day():
    market = Market(PLAIN)
    exchange = Exchange(PLAIN, market, Account())
    day = date(2026, 12, 18)
    (call,) = PLAIN.find(
        ContractSpec(
            symbol="SPX", sec_type="OPT", last_trade_date="20261217", strike=5000.0, right="C",
            trading_class="SPX",
        ),
        date(2026, 12, 1),
    )  # fmt: skip
    opening = datetime(2026, 12, 18, 14, 30, tzinfo=UTC).timestamp()
    (bar,) = market.bars(SPX, opening, opening + 60, BAR_SIZES["1 min"]).open
    close = market.quote(SPX, datetime(2026, 12, 17, 21, 14, tzinfo=UTC).timestamp()).last
    exchange.account.cash["USD"] = Decimal(10_000_000)
    place(exchange, call, "BUY", 1)

    assert (call.expiry, call.settlement) == (date(2026, 12, 17), day)
    assert exchange.tick(opening - 1) == []
    assert held(exchange) == {call.con_id: 1}
    (done, _) = exchange.tick(opening)
    assert float(done.fill.price) == pytest.approx(bar - 5000.0)
    assert bar != close
    assert held(exchange) == {}


def test_nothing_expires_before_its_last_session_is_over(exchange):
    place(exchange, CALL, "BUY", 1)

    assert exchange.tick(datetime(2026, 11, 20, 20, 59, tzinfo=UTC).timestamp()) == []
    assert exchange.tick(datetime(2026, 11, 20, 21, 0, tzinfo=UTC).timestamp()) != []


def test_a_future_is_settled_in_cash_at_its_end(exchange):
    (es,) = UNIVERSE.chain("ES", date(2026, 12, 1), date(2026, 12, 31))
    place(exchange, es, "BUY", 1)

    exchange.tick(datetime(2026, 12, 20, tzinfo=UTC).timestamp())

    assert held(exchange) == {}


def test_options_are_exercised_on_request_and_only_those_that_are_held(exchange):
    place(exchange, CALL, "BUY", 3)

    none = exchange.exercise(1, 50, PUT, 1, NOW)
    exchange.exercise(1, 51, CALL, 1, NOW)
    exchange.exercise(1, 52, CALL, 2, NOW, lapse=True)
    too_many = exchange.exercise(1, 53, CALL, 1, NOW)

    assert [one.code for one in none + too_many] == [322, 322]
    assert all(isinstance(one, Refused) for one in none)
    assert held(exchange) == {1: 2, 265598: 100}
    exchange.tick(AFTER)
    assert held(exchange) == {265598: 100}


def test_an_option_out_of_the_money_is_exercised_only_when_insisted(exchange):
    place(exchange, HIGH_CALL, "BUY", 1)

    assert exchange.exercise(1, 50, HIGH_CALL, 1, NOW)[0].code == 322
    exchange.exercise(1, 51, HIGH_CALL, 1, NOW, override=True)
    assert held(exchange) == {265598: 100}


@pytest.mark.parametrize(
    ("trades", "margin"),
    [
        ([(APPLE, "BUY", 100)], 5000),
        ([(APPLE, "SELL", 100)], 5000),
        ([(CALL, "BUY", 1)], 0),
        ([(HIGH_CALL, "SELL", 1)], 100 + 100 * 10),
        ([(CALL, "SELL", 1)], 700 + 100 * 20),
        ([(APPLE, "BUY", 100), (HIGH_CALL, "SELL", 1)], 5000),
        ([(CALL, "BUY", 1), (HIGH_CALL, "SELL", 1)], 0),
        ([(HIGH_CALL, "BUY", 1), (CALL, "SELL", 1)], 1500),
    ],
)
def test_margin_knows_stock_covered_spread_and_naked(exchange, trades, margin):
    for instrument, action, quantity in trades:
        place(exchange, instrument, action, quantity)

    assert exchange.account.sums(exchange.market, NOW).init_margin == margin


def test_option_value_counts_as_worth_but_carries_no_loan(exchange):
    place(exchange, CALL, "BUY", 10)

    sums = exchange.account.sums(exchange.market, NOW)

    assert sums.options == 7000
    assert sums.equity - sums.loan_value == 7000
    rows = {(k, c): v for k, v, c in exchange.account.values(exchange.market, NOW)}
    assert rows["OptionMarketValue", "USD"] == "7000.00"


def test_a_combination_is_filled_by_the_leg_and_charged_by_the_leg(exchange):
    legs = (Leg(CALL, 1, "BUY"), Leg(HIGH_CALL, 1, "SELL"))
    spread = combination(legs, "AAPL", "SMART")

    events = place(exchange, spread, "BUY", 2, legs=legs)

    whole, *parts = [one.fill for one in events if isinstance(one, Execution)]
    assert (whole.price, whole.exec_id.count(".")) == (Decimal("6.0"), 3)
    assert [(f.side, f.price, f.shares) for f in parts] == [("BOT", 7, 2), ("SLD", 1, 2)]
    assert held(exchange) == {1: 2, 2: -2}
    assert whole.commission == 0 < parts[0].commission


def test_several_currencies_are_added_up_in_the_base(exchange):
    account = Account(cash={"USD": 1000, "EUR": 500})

    sums = account.sums(exchange.market, NOW)

    assert sums.cash == 1000 + 500 * 100
    assert account.currencies() == ["USD", "EUR"]


def test_an_advisor_splits_an_order_of_the_group_over_the_accounts():
    family = household(["DUSIM0", "DUSIM1", "DUSIM2", "DUSIM3"])
    exchange = Exchange(UNIVERSE, Still(), family)

    place(exchange, APPLE, "BUY", 10, fa_group="All")
    place(exchange, APPLE, "BUY", 5, account="DUSIM3")
    refused = place(exchange, APPLE, "BUY", 5)

    shares = [int(one.position(APPLE).quantity) for one in family.accounts.values()]
    assert shares == [4, 3, 8]
    assert refused[0].code == 435
    assert sum(f.commission for f in exchange.executions() if f.order_id != 1) > 0
    assert len({f.exec_id for f in exchange.executions()}) == len(exchange.executions())


def test_one_account_is_a_household_of_its_own():
    alone = Household([Account()])

    assert alone.ids == ["DUSIM0001"]
    assert [one.account_id for one in alone.group("All")] == ["DUSIM0001"]
    assert alone.group("DU7") == []
