"""Instruments without a gateway: what an earlier connection has kept, and nothing pretended."""

from decimal import Decimal

import pytest
from ib_async import Contract

import ibkit
from ibkit.contracts.margin import NoMarginError
from ibkit.contracts.money import UnevenComboError
from ibkit.errors import NotConnectedError, NotListedError, OfflineError, StoreAccessError
from ibkit.sim.testing import gateway

SPREAD = "BAG:[+1 FUT:ES, -1 FUT:NQ]"


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A store that a connection has filled, whose gateway is gone."""
    folder = tmp_path_factory.mktemp("offline")
    with gateway() as running, ibkit.connect(port=running.port, root=folder) as kit:
        for name in ("AAPL", "VOD@LSE:GBP", "FUT:ES", "CONT:ES", "CASH:EURUSD"):
            kit.contract(name)
        kit.contracts.tick_rule("FUT:ES")
        kit.contracts.margin("FUT:ES")
        kit.contracts.margins(["AAPL", "CASH:EURUSD"])
        day = kit.contracts.chain("SPY").select(days=30, cycle="monthly").expiries[0]
        kit.contracts.resolve([f"OPT:SPY:{day}:{strike}C" for strike in (640, 650)])
    return folder


@pytest.fixture
def kept(root):
    with ibkit.offline(root=root) as one:
        yield one


def test_a_user_without_a_gateway_names_and_describes_what_the_book_holds(kept):
    assert kept.contract("AAPL").conId == 265598
    assert kept.contract("FUT:ES").secType == "FUT"
    assert kept.contract("VOD@LSE:GBP").currency == "GBP"
    assert kept.contracts.details("AAPL").longName == "APPLE INC"
    assert kept.contracts.point_value("FUT:ES") == 50
    assert kept.contracts.tick_rule("FUT:ES").step(Decimal(5000)) == Decimal("0.25")
    assert kept.contracts.sessions("AAPL", "2025-11-24", "2025-11-28")


def test_any_other_name_of_what_is_held_serves_too(kept):
    es = kept.contract("FUT:ES")

    assert kept.contract("CONID:265598") == kept.contract("AAPL")
    assert kept.contract("AAPL@SMART/NASDAQ") == kept.contract("AAPL")
    assert kept.contract(f"FUT:ES:{es.lastTradeDateOrContractMonth[:6]}") == es
    assert kept.contract(f"CONID:{es.conId}") == es
    day = kept.contracts.known().query("sec_type == 'STK'").shape[0]
    assert day >= 2


def test_an_option_of_an_expiry_that_was_asked_for_is_known_whole(kept):
    [row] = [name for name in kept.known().index if name.startswith("currency=USD exchange=SMART")]
    day = row.partition("ContractMonth=")[2][:8]

    assert kept.contract(f"OPT:SPY:{day}:645P").right == "P"


def test_what_only_ib_can_tell_is_refused_in_so_many_words(kept):
    with pytest.raises(OfflineError, match=r"nobody can be asked offline") as caught:
        kept.contract("NVDA")

    assert isinstance(caught.value, NotConnectedError)
    assert "known() lists" in str(caught.value)
    assert kept.contracts.requests == 1
    with pytest.raises(NoMarginError):
        kept.contracts.margin("VOD@LSE:GBP")


def test_a_margin_of_another_session_is_there_with_its_age(kept):
    found = kept.contracts.margin("FUT:ES", max_age_s=0)

    assert found.long_initial > 10_000
    assert (found.account, found.source) == ("DUSIM0001", "IB what-if")
    assert found.age_s > 0
    assert found.note.startswith("older than asked for")
    frame = kept.contracts.margins(["AAPL", "FUT:ES", "VOD@LSE:GBP"])
    assert frame["problem"].isna().tolist() == [True, True, False]


def test_another_connection_asks_for_no_margin_that_is_young_enough(root, monkeypatch):
    with gateway() as running, ibkit.connect(port=running.port, root=root) as kit:

        async def refused(*_):
            raise AssertionError("asked again")

        monkeypatch.setattr(kit.contracts, "_what_if", refused)
        assert kit.contracts.margin("FUT:ES", max_age_s=3600).age_s > 0


def test_what_is_known_is_a_table_by_name(kept):
    known = kept.known()

    assert known.loc["AAPL", "con_id"] == 265598
    assert known.loc["AAPL", "long_name"] == "APPLE INC"
    assert known["as_of"].notna().all()
    assert "nothing can be asked" in repr(kept)


def test_a_folder_without_a_store_is_refused_and_not_made(tmp_path):
    with pytest.raises(StoreAccessError, match="nothing was ever kept"):
        ibkit.offline(root=tmp_path / "nowhere")

    assert not (tmp_path / "nowhere").exists()


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    with (
        gateway() as running,
        ibkit.connect(port=running.port, root=tmp_path_factory.mktemp("root")) as one,
    ):
        yield one


def test_a_spread_is_worth_what_its_legs_are_and_uneven_legs_are_refused(kit):
    es = kit.contract("FUT:ES")
    later = kit.contracts.roll_spread("ES")

    assert kit.contracts.point_value(later) == 50
    assert kit.contracts.notional(later, 2, "10.25") == Decimal(1025)
    assert kit.contracts.tick_value(f"BAG:[+1 CONID:{es.conId}, -1 FUT:ES]", 1) == Decimal("12.5")
    with pytest.raises(UnevenComboError, match="20, 50"):
        kit.contracts.notional(SPREAD, 1, 1)


@pytest.mark.parametrize(
    ("name", "part"),
    [("FUT:ES:203511", "FUT:ES:20"), ("FUT:ESS", "FUT:ES"), ("CASH:USDEUR", "CASH:EURUSD")],
)
def test_what_is_not_listed_comes_with_what_is(kit, name, part):
    with pytest.raises(LookupError) as caught:
        kit.contract(name)

    assert any(each.startswith(part) for each in caught.value.candidates)
    for each in caught.value.candidates:
        assert kit.contract(each).conId


def test_a_strike_that_is_not_listed_comes_with_the_nearest_ones(kit):
    day = kit.contracts.chain("SPY").select(days=30, cycle="monthly").expiries[0]
    with pytest.raises(NotListedError) as caught:
        kit.contract(f"OPT:SPY:{day}:651.37C")

    strikes = {kit.contract(each).strike for each in caught.value.candidates}
    assert {651.0, 652.0} & strikes
    assert all(abs(strike - 651.37) < 10 for strike in strikes)


def test_the_number_of_a_stock_is_no_bond_and_is_named(kit):
    with pytest.raises(LookupError) as caught:
        kit.contract("BOND:US0378331005")

    assert "AAPL" in caught.value.candidates


@pytest.mark.parametrize("wanted", [None, 265598, 1.5, b"AAPL"])
def test_what_is_no_name_at_all_is_refused_like_a_bad_one(kit, wanted):
    with pytest.raises(ibkit.errors.ShorthandError, match="shorthand in quotes"):
        kit.contract(wanted)
    assert "problem" in kit.contracts.resolve([wanted]).frame().dropna(axis=1, how="all").columns


def test_a_preferred_currency_is_what_a_bare_name_means(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ibkit.toml").write_text("")
    (tmp_path / "contracts.toml").write_text('[prefer]\ncurrencies = ["GBP"]\n')
    with gateway() as running, ibkit.connect(port=running.port, root=tmp_path / "root") as one:
        assert one.contract("VOD").currency == "GBP"
        assert one.contract("AAPL").currency == "USD"
        assert "prefer: currencies=[GBP] (contracts.toml)" in repr(one.contracts.explain("VOD"))
        with pytest.raises(LookupError):
            one.contract("VOD@SMART:USD")


def test_a_whole_expiry_is_refused_and_with_names_that_can_be_used(kit):
    day = kit.contracts.chain("SPY").select(days=30, cycle="monthly").expiries[0]
    expiry = Contract(secType="OPT", symbol="SPY", exchange="SMART", currency="USD")
    expiry.lastTradeDateOrContractMonth = day
    with pytest.raises(ibkit.errors.AmbiguousContractError) as caught:
        kit.contract(expiry)

    assert len(caught.value.candidates) == 20
    for name, _ in caught.value.candidates[:2]:
        assert kit.contract(name).conId
