from collections import Counter
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import pytest

from ibkit.sim.universe import Universe

TODAY = date(2026, 11, 20)


@dataclass
class Wanted:
    """What a client says of a contract."""

    con_id: int = 0
    symbol: str = ""
    sec_type: str = ""
    last_trade_date: str = ""
    strike: float | None = None
    right: str = ""
    multiplier: str = ""
    exchange: str = ""
    primary_exchange: str = ""
    currency: str = ""
    local_symbol: str = ""
    trading_class: str = ""
    include_expired: bool = False
    sec_id_type: str = ""
    sec_id: str = ""


@pytest.fixture(scope="module")
def universe():
    return Universe.load()


def names(universe, **fields):
    return [one.local_symbol for one in universe.find(Wanted(**fields), TODAY)]


@pytest.mark.parametrize(
    "symbol",
    ["AAPL", "MSFT", "NVDA", "AMZN", "GOOGL", "META", "TSLA", "JPM", "XOM", "SPY", "QQQ", "IWM"],
)
def test_the_great_us_stocks_are_there_once(universe, symbol):
    assert names(universe, symbol=symbol, sec_type="STK", currency="USD") == [symbol]


@pytest.mark.parametrize(
    ("con_id", "symbol", "exchange"),
    [
        (265598, "AAPL", "SMART"),
        (756733, "SPY", "SMART"),
        (320227571, "QQQ", "SMART"),
        (272093, "MSFT", "SMART"),
        (3691937, "AMZN", "SMART"),
        (76792991, "TSLA", "SMART"),
        (416904, "SPX", "CBOE"),
        (12087792, "EUR", "IDEALPRO"),
    ],
)
def test_a_con_id_of_ib_alone_is_enough(universe, con_id, symbol, exchange):
    (found,) = universe.find(Wanted(con_id=con_id), TODAY)

    assert (found.symbol, found.exchange) == (symbol, exchange)


def test_every_con_id_and_every_product_number_is_unique(universe):
    numbers = [one.con_id for one in universe.instruments]
    fronts = [
        universe.chain(root, TODAY, date(2027, 12, 31))[0].con_id for root in universe.products
    ]

    assert len({*numbers, *fronts}) == len(numbers) + len(fronts)


def test_a_symbol_alone_is_ambiguous_where_it_is_in_the_world(universe):
    assert len(universe.find(Wanted(symbol="BTC"), TODAY)) >= 1
    both = universe.find(Wanted(symbol="SI", sec_type="FUT", last_trade_date="202612"), TODAY)

    assert {one.trading_class for one in both} == {"SI", "SIL"}


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"sec_type": "STK"},
        {"symbol": "NOPE", "sec_type": "STK"},
        {"symbol": "AAPL", "sec_type": "STK", "currency": "EUR"},
        {"symbol": "AAPL", "sec_type": "STK", "exchange": "LSE"},
        {"con_id": 1},
        {"con_id": 265598, "exchange": "LSE"},
        {"symbol": "ES", "sec_type": "FUT", "multiplier": "fifty"},
        {"symbol": "ES", "sec_type": "FUT", "last_trade_date": "20261217"},
    ],
)
def test_what_does_not_exist_is_not_found(universe, fields):
    assert universe.find(Wanted(**fields), TODAY) == []


def test_a_stock_may_be_routed_to_a_venue_and_keeps_its_number(universe):
    (island,) = universe.find(Wanted(symbol="AAPL", sec_type="STK", exchange="ISLAND"), TODAY)

    assert (island.exchange, island.con_id) == ("NASDAQ", 265598)


def test_an_isin_finds_its_stock(universe):
    assert names(universe, sec_type="STK", sec_id_type="ISIN", sec_id="US0378331005") == ["AAPL"]


def test_a_futures_chain_has_real_expiries_and_no_expired_month(universe):
    found = universe.find(Wanted(symbol="ES", sec_type="FUT", exchange="CME"), TODAY)

    assert [one.last_trade_date for one in found[:3]] == ["20261218", "20270319", "20270617"]
    assert [one.local_symbol for one in found[:3]] == ["ESZ6", "ESH7", "ESM7"]


def test_expired_futures_are_found_for_two_years_when_asked_for(universe):
    old = names(universe, symbol="ES", sec_type="FUT", include_expired=True)

    assert old[0] == "ESZ4"
    assert "ESU6" in old


def test_a_month_and_a_day_name_the_same_future(universe):
    by_month = names(universe, symbol="CL", sec_type="FUT", last_trade_date="202701")
    by_day = names(universe, symbol="CL", sec_type="FUT", last_trade_date="20261221")
    by_name = names(universe, local_symbol="CLF7", sec_type="FUT")

    assert by_month == by_day == by_name == ["CLF7"]


def test_a_future_is_found_again_by_its_number_in_another_process(universe):
    (found,) = universe.find(Wanted(local_symbol="GCG7", sec_type="FUT"), TODAY)

    assert Universe.load().by_con_id(found.con_id) == found
    assert Universe.load().by_con_id(620731015).local_symbol == "ESM5"


def test_the_continuous_future_is_the_front_month_until_shortly_before_its_end(universe):
    early = universe.find(Wanted(symbol="ES", sec_type="CONTFUT"), TODAY)
    late = universe.find(Wanted(symbol="ES", sec_type="CONTFUT"), date(2026, 12, 14))

    assert [one.local_symbol for one in early + late] == ["ESZ6", "ESH7"]
    assert early[0].sec_type == "CONTFUT"


def test_apple_has_the_details_that_a_real_gateway_sends(universe):
    apple = universe.by_con_id(265598)

    assert apple.long_name == "APPLE INC"
    assert (apple.industry, apple.category, apple.subcategory) == (
        "Technology",
        "Computers",
        "Computers",
    )
    assert (apple.min_tick, apple.time_zone_id) == (Decimal("0.01"), "US/Eastern")
    assert apple.market_rule_ids == (26,) * len(apple.valid_exchanges)
    assert apple.sec_ids == (("ISIN", "US0378331005"),)
    assert (apple.min_size, apple.suggested_size_increment) == (Decimal("0.0001"), Decimal(100))
    assert apple.order_types.startswith("ACTIVETIM,AD,")
    assert universe.market_rule(26) == ((Decimal(0), Decimal("0.01")),)


def test_prices_in_pence_and_cents_have_the_quoted_tick(universe):
    (vodafone,) = universe.find(Wanted(symbol="VOD", sec_type="STK", currency="GBP"), TODAY)
    (corn,) = universe.find(Wanted(symbol="ZC", sec_type="FUT", last_trade_date="202612"), TODAY)

    assert (vodafone.tick, vodafone.point_value) == (Decimal("0.0001"), Decimal("0.01"))
    assert universe.increment(vodafone, Decimal(99)) == Decimal("0.01")
    assert universe.increment(vodafone, Decimal(100)) == Decimal("0.02")
    assert (corn.tick, corn.point_value) == (Decimal("0.25"), Decimal(50))


def test_symbols_are_matched_by_beginning_and_by_name(universe):
    assert universe.matching("AAPL")[0].symbol == "AAPL"
    assert "MSFT" in [one.symbol for one in universe.matching("microsoft")]
    assert universe.matching("") == []
    assert len(universe.matching("A")) == 16


def test_a_user_adds_rows_in_a_file_of_his_own(tmp_path):
    mine = tmp_path / "mine.toml"
    mine.write_text(
        """
        [paths]
        TULIP = { price = 12.0, vol = 0.9, drift = 0.0, market = 0.1 }

        [mine]
        sec_type = "STK"
        calendar = "us_stocks"
        currency = "USD"
        exchange = "SMART"
        order_types = "stock"
        min_tick = "0.01"
        rule = 26
        min_size = "1"
        size_increment = "1"
        suggested_size_increment = "100"
        agg_group = 1
        rows = [{ symbol = "TULP", name = "TULIP BULBS", path = "TULIP", volume = 1000.0 }]
        """
    )

    found = Universe.load(mine).find(Wanted(symbol="TULP", sec_type="STK"), TODAY)

    assert [one.long_name for one in found] == ["TULIP BULBS"]


def test_there_is_something_of_every_kind(universe):
    count = Counter(one.sec_type for one in universe.instruments)
    homes = Counter(one.time_zone_id for one in universe.instruments if one.sec_type == "STK")

    assert count["STK"] >= 60
    assert count["BOND"] >= 5
    assert count["IND"] >= 5
    assert count["CASH"] >= 7
    assert count["CRYPTO"] >= 2
    assert count["CFD"] >= 5
    assert len(universe.products) >= 40
    assert set(homes) == {"US/Eastern", "GB-Eire", "MET", "Japan", "Hongkong"}


def test_every_instrument_has_a_market_rule_that_its_tick_follows(universe):
    for one in universe.instruments:
        rule = universe.market_rule(one.market_rule_ids[0])
        assert rule is not None, one
        assert rule[0][1] == one.tick, one


def test_cfds_of_stocks_name_a_stock_that_exists(universe):
    cfds = [one for one in universe.instruments if one.sec_type == "CFD" and one.under_con_id]

    assert len(cfds) >= 4
    for one in cfds:
        stock = universe.by_con_id(one.under_con_id)
        assert (stock.sec_type, stock.symbol) == ("STK", one.symbol)


def test_a_search_by_symbol_lists_the_stock_and_no_bond_or_cfd(universe):
    assert {one.sec_type for one in universe.matching("AAPL")} == {"STK"}
