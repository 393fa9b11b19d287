"""Front months, rolls and chains, against the simulated gateway."""

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal

import pytest
from ib_async import LimitOrder

import ibkit
from ibkit import clock
from ibkit.contracts import Contracts
from ibkit.contracts.overrides import Overrides, RollRow
from ibkit.contracts.rolling import NotAFutureError
from ibkit.contracts.rolls import RollRule, RollRuleError
from ibkit.contracts.specs import load_specs
from ibkit.errors import ContractNotAllowedError, ExpiredContractError, NoDataError
from ibkit.sim.testing import gateway


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    with (
        gateway() as running,
        ibkit.connect(port=running.port, root=tmp_path_factory.mktemp("root")) as one,
    ):
        yield one


def last_years(month):
    """Return a day in a month of last year; IB knows contracts of two."""
    return date(clock.now().year - 1, month, 1)


@pytest.mark.parametrize("rule", [RollRule(), RollRule("volume")], ids=["days", "volume"])
@pytest.mark.parametrize("root", ["ES", "CL", "GC"])
def test_the_front_month_of_a_day_that_is_over_is_that_days(kit, root, rule):
    for month in (3, 7):
        day = last_years(month)

        found = kit.contracts.front(root, day, rule=rule)

        last = date.fromisoformat(found.lastTradeDateOrContractMonth[:8])
        assert day <= last <= day + timedelta(days=125)
        assert last < clock.now().date()


def test_a_day_whose_contract_ib_has_forgotten_is_an_error_not_a_later_month(kit):
    with pytest.raises(ExpiredContractError, match="two years"):
        kit.contracts.front("ES", date(clock.now().year - 4, 6, 1))


def test_a_calendar_by_volume_asks_for_the_volumes_itself(kit, asked):
    start = last_years(1)

    frame = kit.contracts.roll_calendar("ES", start, last_years(11), rule=RollRule("volume"))

    assert set(frame["reason"]) == {"volume"}
    assert set(frame["source"]) == {"IB"}
    assert asked.count("daily volumes") == len(frame) + 1
    by_days = kit.contracts.roll_calendar("ES", start, last_years(11))
    assert (frame["roll"] - by_days["roll"]).abs().max() <= timedelta(days=8)
    with pytest.raises(RollRuleError, match="open interest"):
        kit.contracts.roll_calendar("ES", start, rule=RollRule("open interest"))


def test_the_calendar_and_the_front_month_by_volume_agree(kit):
    rule = RollRule("volume")
    [first, *_] = kit.contracts.roll_calendar(
        "ES", last_years(1), last_years(4), rule=rule
    ).itertuples()
    day = first.roll.date()

    before, after = (
        kit.contracts.front("ES", each, rule=rule) for each in (day - timedelta(1), day)
    )

    assert kit.contracts.front("ES", day, rule="volume") == after
    assert before.lastTradeDateOrContractMonth[:6] == first.contract
    assert after.lastTradeDateOrContractMonth[:6] == first.next


def refuse_volumes(kit, monkeypatch, error):
    request = kit.link.request

    async def refuse(name, *args, **options):
        if name == "daily volumes":
            raise error
        return await request(name, *args, **options)

    monkeypatch.setattr(kit.link, "request", refuse)


def test_volumes_that_ib_does_not_have_roll_nothing(kit, monkeypatch):
    refuse_volumes(kit, monkeypatch, NoDataError(162, "no data"))
    rule = RollRule("volume")

    nearest = min(kit.contracts.roll_calendar("ES", clock.now().date())["expiry"].dt.date)

    assert kit.contracts.front("ES", rule=rule).lastTradeDateOrContractMonth == f"{nearest:%Y%m%d}"


def test_volumes_that_one_may_not_see_are_an_error(kit, monkeypatch):
    refuse_volumes(kit, monkeypatch, ContractNotAllowedError(203, "no permission"))

    with pytest.raises(ContractNotAllowedError):
        kit.contracts.front("ES", rule=RollRule("volume"))


def months(kit, bag):
    return [kit.contract(f"CONID:{leg.conId}").localSymbol for leg in bag.comboLegs]


def test_the_spread_of_a_contract_that_is_held_starts_with_it(kit):
    """On the day of the roll the front month is already the next one."""
    second = kit.contracts.roll_calendar("ES", clock.now().date())["next"][0]
    held = kit.contract(f"FUT:ES:{second}")

    by_contract = months(kit, kit.contracts.roll_spread(held))

    assert by_contract[0] == held.localSymbol
    assert months(kit, kit.contracts.roll_spread(f"FUT:ES:{second}")) == by_contract
    assert months(kit, kit.contracts.roll_spread("ES", second)) == by_contract
    with pytest.raises(RollRuleError, match="near says"):
        kit.contracts.roll_spread(f"FUT:ES:{second}", "209912")


def test_the_spread_rolls_through_the_months_of_the_rule(kit, tmp_path):
    rows = {"CL": RollRow(months=(6, 12))}
    mine = Contracts(kit.link, cache=tmp_path, overrides=Overrides(source="x", roll=rows))

    legs = months(mine, mine.roll_spread("CL"))

    assert {name[2] for name in legs} == {"M", "Z"}


def test_the_spread_is_an_order_that_the_gateway_takes(kit):
    bag = kit.contracts.roll_spread("CL")

    assert (bag.secType, bag.symbol, bag.exchange, bag.currency) == ("BAG", "CL", "NYMEX", "USD")
    assert [(leg.ratio, leg.action, leg.exchange) for leg in bag.comboLegs] == [
        (1, "SELL", "NYMEX"),
        (1, "BUY", "NYMEX"),
    ]
    placed = kit.orders.place(bag, LimitOrder("BUY", 1, -1.5), key="roll")
    assert kit.orders.cancel(placed)


def test_the_whole_table_is_checked_unless_one_is_named(kit):
    frame = kit.contracts.check_specs()

    assert set(frame["field"]) <= {"listing"}  # what this gateway does not list
    assert len(frame) <= 2
    assert len(load_specs()) == 73


def test_a_difference_is_logged_once_where_a_front_month_is_looked_up(kit, tmp_path, monkeypatch):
    changed = load_specs() | {"ES": replace(load_specs()["ES"], multiplier=Decimal(25))}
    monkeypatch.setattr("ibkit.contracts.specs.load_specs", lambda: changed)
    told = []
    monkeypatch.setattr(
        "ibkit.contracts.differing.log.warning", lambda *words, **more: told.append((words, more))
    )
    mine = Contracts(kit.link, cache=tmp_path)

    es = mine.contract("FUT:ES")
    mine.contract("FUT:ES@CME")

    assert es.multiplier == "50"
    [(_, more)] = told
    assert (more["root"], more["changed"]) == ("ES", "multiplier=50 (table: 25)")


def test_a_symbol_of_several_products_is_no_product(kit):
    with pytest.raises(NotAFutureError, match="FDAX, FDXM, FDXS"):
        kit.contracts.spec("DAX")
    with pytest.raises(NotAFutureError):
        kit.contracts.spec(None)
    assert kit.contracts.spec("FDXM").multiplier == 5


# --- chains ---------------------------------------------------------------------------------------


def test_a_chain_with_its_market_is_chosen_from_by_delta_alone(kit, asked):
    chain = kit.contracts.chain("SPY", market=True)

    assert asked.count("daily bars") == 2
    assert chain.spot > 0
    assert 0.03 < chain.vol < 1
    assert f"{chain.vol:.3f}" in repr(chain)
    some = chain.select(days=30, delta=0.25)
    assert len(some) == 2
    strikes = dict(zip(some.table["right"], some.table["strike"], strict=True))
    assert strikes["P"] < chain.spot < strikes["C"]


def test_a_future_has_the_volatility_of_its_own_bars(kit, asked):
    chain = kit.contracts.chain("FUT:ES", market=True)

    assert asked.count("daily bars") == 1
    assert 0.02 < chain.vol < 1
    assert "sessions" in chain.note


def test_the_price_that_is_given_is_kept(kit):
    assert kit.contracts.chain("SPY", spot=600.0, market=True).spot == 600.0
