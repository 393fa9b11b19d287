"""The exchange's promises through any sequence of orders: money and shares are conserved."""

from collections import Counter
from datetime import UTC, date, datetime
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from ibkit.sim.account import Account
from ibkit.sim.exchange import Commission, Exchange, Execution, OrderRequest, OrderState
from ibkit.sim.market import Market
from ibkit.sim.universe import Universe

UNIVERSE = Universe.load()
MARKET = Market(UNIVERSE)
NOW = datetime(2026, 11, 18, 16, tzinfo=UTC).timestamp()
INSTRUMENTS = [
    UNIVERSE.by_con_id(265598),
    UNIVERSE.by_con_id(12087792),
    UNIVERSE.chain("ES", date(2026, 12, 1), date(2026, 12, 31))[0],
    *(one for one in UNIVERSE.instruments if one.symbol in {"VOD", "700"}),
]
TERMINAL = {"Filled", "Cancelled", "Inactive"}

placing = st.tuples(
    st.just("place"),
    st.integers(1, 2),
    st.integers(1, 12),
    st.sampled_from(INSTRUMENTS),
    st.sampled_from(["BUY", "SELL"]),
    st.sampled_from([1, 2, 100, 300, 1500]),
    st.one_of(st.none(), st.integers(-40, 40)),
    st.sampled_from(["DAY", "GTC", "IOC", "FOK"]),
)
steps = st.lists(
    st.one_of(
        placing,
        st.tuples(st.just("cancel"), st.integers(1, 2), st.integers(1, 12)),
        st.tuples(st.just("wait"), st.integers(1, 1200)),
        st.tuples(st.just("cancel_all")),
    ),
    min_size=1,
    max_size=25,
)


def run(sequence):
    account = Account()
    exchange = Exchange(UNIVERSE, MARKET, account)
    now, events = NOW, []
    for kind, *rest in sequence:
        if kind == "place":
            events += exchange.place(request(now, *rest), now)
        elif kind == "cancel":
            events += exchange.cancel(*rest, now)
        elif kind == "cancel_all":
            events += exchange.cancel_all(now)
        else:
            now += rest[0]
            events += exchange.tick(now)
    return account, exchange, events


def request(now, client, number, instrument, action, size, away, tif):
    price = None
    if away is not None:
        bid = Decimal(repr(MARKET.quote(instrument, now).bid))
        price = bid + away * UNIVERSE.increment(instrument, bid)
    return OrderRequest(
        client, number, instrument, action, Decimal(size), "LMT" if price else "MKT", price, tif=tif
    )


@settings(max_examples=80, deadline=None)
@given(steps)
def test_cash_and_positions_are_conserved(sequence):
    account, exchange, _ = run(sequence)
    fills = exchange.executions()

    cash = {"USD": Decimal(1_000_000)}
    for fill in fills:
        one, signed = fill.instrument, fill.shares * fill.sign
        if one.sec_type != "FUT":
            money = signed * fill.price * one.point_value
            cash[one.currency] = cash.get(one.currency, Decimal(0)) - money
        if one.sec_type == "CASH":
            cash[one.symbol] = cash.get(one.symbol, Decimal(0)) + signed
        cash[fill.currency] = cash.get(fill.currency, Decimal(0)) - fill.commission
    held = Counter()
    for fill in fills:
        held[fill.instrument.con_id] += fill.shares * fill.sign

    for position in account.positions():
        one = position.instrument
        assert position.quantity == held[one.con_id]
        own = [fill for fill in fills if fill.instrument.con_id == one.con_id]
        fees = sum(fill.commission for fill in own)
        if one.sec_type == "FUT":  # what it won before fees
            gross = position.realized + fees - position.fees
            cash[one.currency] = cash.get(one.currency, Decimal(0)) + gross
        paid = sum(fill.shares * fill.sign * fill.price * one.point_value for fill in own)
        assert abs(position.basis - (paid + fees + position.realized)) < Decimal("1e-12")
    for currency, amount in account.cash.items():
        assert abs(amount - cash.get(currency, Decimal(0))) < Decimal("1e-12")
    assert sum(account.fees.values()) == sum(fill.commission for fill in fills)


@settings(max_examples=80, deadline=None)
@given(steps)
def test_no_order_is_filled_beyond_its_size_and_each_fill_is_reported_and_charged_once(sequence):
    _, exchange, events = run(sequence)

    filled = Counter()
    for fill in exchange.executions():
        filled[fill.perm_id] += fill.shares
    for one in exchange.completed() + exchange.working():
        assert filled[one.perm_id] == one.filled <= one.request.quantity
    executions = [event.fill.exec_id for event in events if isinstance(event, Execution)]
    charged = [event.fill.exec_id for event in events if isinstance(event, Commission)]
    assert executions == charged == [fill.exec_id for fill in exchange.executions()]
    assert len(set(executions)) == len(executions)


@settings(max_examples=80, deadline=None)
@given(steps)
def test_no_order_leaves_its_end_and_none_is_in_two_states(sequence):
    _, exchange, events = run(sequence)

    ended = {}
    for event in events:
        if isinstance(event, OrderState):
            one = event.order
            assert ended.get(one.perm_id, one.status) == one.status
            if one.status in TERMINAL:
                ended[one.perm_id] = one.status
    working = {one.perm_id for one in exchange.working()}
    completed = {one.perm_id for one in exchange.completed()}
    assert not working & completed
    assert completed == set(ended)


@settings(max_examples=40, deadline=None)
@given(steps)
def test_limits_are_kept(sequence):
    _, _exchange, events = run(sequence)

    for event in events:
        if isinstance(event, Execution) and event.order.request.order_type == "LMT":
            asked = event.order.request
            assert (event.fill.price - asked.lmt_price) * asked.sign <= 0


@settings(max_examples=20, deadline=None)
@given(steps)
def test_the_same_orders_always_have_the_same_fate(sequence):
    first, second = run(sequence), run(sequence)

    assert first[1].executions() == second[1].executions()
    assert first[0].cash == second[0].cash
