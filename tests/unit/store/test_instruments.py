import pytest
from ib_async import Contract

from ibkit.errors import ShorthandError, UnknownSeriesError

DECEMBER, MARCH = "FUT-ES-CME-USD-20261218", "FUT-ES-CME-USD-20270319"


@pytest.fixture
def futures(store, bars):
    for name in (DECEMBER, MARCH, "FUT-CL-NYMEX-USD-20261120"):
        store.write_bars(name, "1 min", bars())
    return store


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        (DECEMBER, DECEMBER),
        ("FUT:ES:202612", DECEMBER),
        ("FUT:ES:20270319", MARCH),
        ("FUT:CL", "FUT-CL-NYMEX-USD-20261120"),
        ("FUT:CL@NYMEX", "FUT-CL-NYMEX-USD-20261120"),
        (Contract(secType="FUT", symbol="ES", lastTradeDateOrContractMonth="202703"), MARCH),
    ],
)
def test_the_one_stored_instrument_that_fits_is_meant(futures, wanted, found):
    assert futures.bars(wanted, "1 min").attrs["instrument"] == found


def test_more_than_one_is_an_error_that_lists_them(futures):
    with pytest.raises(
        UnknownSeriesError, match=r"(?s)more than one.*FUT:ES@CME.*20261218.*20270319"
    ):
        futures.bars("FUT:ES", "1 min")


def test_a_bare_number_is_no_name_of_the_store(futures):
    with pytest.raises(UnknownSeriesError, match="by their names"):
        futures.bars("CONID:265598", "1 min")


def test_a_write_needs_the_full_name(store, bars):
    with pytest.raises(ValueError, match="qualify it first"):
        store.write_bars("FUT:ES", "1 min", bars())


def test_a_name_that_is_none_is_refused_before_any_path_is_made(store, bars):
    with pytest.raises(ShorthandError):
        store.write_bars("OPT:../../etc", "1 min", bars())


@pytest.mark.parametrize("symbol", ["BRK B", "../x", "A/B", "A=B", "A-B", "ÄÖ", "0700", "a.b"])
def test_any_symbol_gets_a_folder_of_its_own_and_comes_back(store, bars, symbol):
    contract = Contract(secType="STK", symbol=symbol, exchange="SMART", currency="USD")

    store.write_bars(contract, "1 min", bars())

    (slug,) = store.instruments("bars_1min")
    assert len(store.bars(contract, "1 min")) == len(store.bars(slug, "1 min")) == 5
    assert {path.name for path in (store.root / "data").iterdir()} == {"bars_1min"}
    assert store.coverage()["instrument"].tolist() == [slug]
