"""Option bars: by underlying, and every contract a series of its own."""

import pytest

from ibkit.errors import UnknownSeriesError
from ibkit.store import Store, options

CALL, PUT = "OPT:SPY:20261218:650C", "OPT:SPY:20261218:650P"
UNDER = "STK-SPY-SMART-USD"


@pytest.fixture
def days(utc):
    return [utc(2026, 10, 1 + n) for n in range(8)]


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path)


def test_bars_of_an_option_are_kept_by_underlying(store, bars, days):
    store.write_bars(CALL, "1 min", bars(), span=(days[0], days[1]))

    assert store.datasets() == ["option_bars_1min"]
    assert store.instruments("option_bars_1min") == [UNDER]
    rows = store.option_bars("1 min")("SPY")
    assert rows[["expiry", "strike", "right", "trading_class"]].drop_duplicates().to_numpy()[
        0
    ].tolist() == ["20261218", 650.0, "C", "SPY"]
    found = store.bars(CALL, "1 min")
    assert found["close"].tolist() == bars()["close"].tolist()
    assert found.attrs["instrument"] == "OPT-SPY-SMART-USD-20261218-650-C"


def test_answers_are_by_contract_not_by_underlying(store, bars, days):
    store.write_bars(CALL, "1 min", bars(), span=(days[0], days[2]))
    store.confirm_empty("bars_1min", PUT, (days[1], days[3]), reason="IB 162: no data")

    assert store.missing(CALL, "1 min", days[0], days[4]) == [(days[2], days[4])]
    assert store.missing(PUT, "1 min", days[0], days[4]) == [
        (days[0], days[1]),
        (days[3], days[4]),
    ]
    other = "OPT:SPY:20261218:655C"
    assert store.missing(other, "1 min", days[0], days[4]) == [(days[0], days[4])]
    assert store.confirmed(PUT, "1 min", days[0], days[4]) == [
        (days[1], days[3], "IB 162: no data")
    ]
    assert store.confirmed(CALL, "1 min", days[0], days[4]) == []
    assert store.gaps(PUT)["dataset"].tolist() == ["option_bars_1min"]
    holes = store.holes([CALL, PUT], "1 min", days[0], days[4])
    assert holes["instrument"].tolist() == [CALL, PUT, PUT]


def test_coverage_has_a_row_a_contract(store, bars, days):
    store.write_bars(CALL, "1 min", bars(), span=(days[0], days[1]))
    store.write_bars(PUT, "1 min", bars(n=2), span=(days[0], days[2]))
    store.confirm_empty("bars_1min", "OPT:SPY:20261218:655C", (days[0], days[3]))

    table = store.coverage().set_index("instrument")

    assert table["rows"].to_dict() == {
        "OPT-SPY-SMART-USD-20261218-650-C": len(bars()),
        "OPT-SPY-SMART-USD-20261218-650-P": 2,
        "OPT-SPY-SMART-USD-20261218-655-C": 0,
    }
    assert table["spans"].tolist() == [
        [(days[0], days[1])],
        [(days[0], days[2])],
        [(days[0], days[3])],
    ]


def test_one_contract_does_not_touch_another(store, bars, days):
    first = bars()
    store.write_bars(CALL, "1 min", first)
    store.write_bars(PUT, "1 min", first.assign(close=first["close"] * 0 + first["low"]))

    assert store.bars(CALL, "1 min")["close"].tolist() == first["close"].tolist()
    assert store.bars(PUT, "1 min")["close"].tolist() == first["low"].tolist()
    both = store.bars([CALL, PUT], "1 min")
    assert both.groupby("instrument").size().tolist() == [len(first)] * 2


def test_a_contract_that_is_not_stored_is_an_error_not_an_empty_frame(store, bars):
    store.write_bars(CALL, "1 min", bars())

    with pytest.raises(UnknownSeriesError, match="holds no what_to_show=TRADES"):
        store.bars(PUT, "1 min")


def test_the_class_may_be_left_out_as_long_as_one_fits(store, bars):
    store.write_bars("OPT:SPX#SPXW:20261218:6500C", "1 min", bars())
    assert len(store.bars("OPT:SPX:20261218:6500C", "1 min")) == len(bars())

    store.write_bars("OPT:SPX#SPXQ:20261218:6500C", "1 min", bars())
    with pytest.raises(UnknownSeriesError, match="SPXQ, SPXW"):
        store.bars("OPT:SPX:20261218:6500C", "1 min")


def test_who_knows_the_underlying_says_it(store, bars, days):
    asked = []
    store.underlying = lambda option: asked.append(option) or "IND-SPX-CBOE-USD"
    option = "OPT:SPX#SPXW:20261218:6500C"

    for day in range(2):
        store.write_bars(option, "1 min", bars(), span=(days[day], days[day + 1]))

    assert store.instruments("option_bars_1min") == ["IND-SPX-CBOE-USD"]
    assert len(asked) == 1
    assert store.missing(option, "1 min", days[0], days[2]) == []


def test_an_option_on_a_future_is_below_a_future_not_below_a_share(store, bars):
    store.underlying = lambda _: "FUT-ES-CME-USD-20261218"
    store.write_bars("FOP:ES@CME:USD:20261120:6500C", "1 min", bars())
    store.underlying = None
    store.write_bars("OPT:ES:20261120:65C", "1 min", bars(n=3))

    assert store.instruments("option_bars_1min") == [
        "FUT-ES-CME-USD-20261218",
        "STK-ES-SMART-USD",
    ]
    assert len(store.bars("OPT:ES:20261120:65C", "1 min")) == 3
    assert len(store.bars("FOP:ES@CME:USD:20261120:6500C", "1 min")) == len(bars())


def test_one_exchange_alone_is_another_series(store, bars):
    store.write_bars("OPT:SPY@CBOE:20261218:650C", "1 min", bars())

    assert store.datasets() == ["bars_1min"]
    assert options.named("OPT:SPY@CBOE:20261218:650C") is None


def test_larger_bars_are_made_of_smaller_ones(store, bars):
    store.write_bars(CALL, "1 min", bars())

    made = store.bars(CALL, "5 mins", resample=True)

    assert made.attrs["resampled_from"] == "1 min"
    assert made["high"].max() == bars()["high"].max()


def test_rows_that_came_with_those_of_others_are_found(store, bars):
    chain = bars(n=4).reset_index().assign(what_to_show="TRADES", use_rth=True)
    chain = chain.assign(expiry="20261218", strike=650.0, right=["C", "P", "C", "P"])
    store.option_bars("1 min").write("SPY", chain.assign(trading_class="SPY"), source="IB")

    assert len(store.bars(CALL, "1 min")) == 2
