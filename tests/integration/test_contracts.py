"""Instruments by name, against the simulated gateway."""

import asyncio
from datetime import date, timedelta
from decimal import Decimal

import pytest
from ib_async import Contract, ContractDetails, Stock

import ibkit
from ibkit import clock
from ibkit.contracts.expiry import expiry
from ibkit.contracts.specs import load_specs
from ibkit.errors import AmbiguousContractError, ShorthandError, UnknownContractError
from ibkit.sim.testing import gateway


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    with (
        gateway() as running,
        ibkit.connect(port=running.port, root=tmp_path_factory.mktemp("root")) as one,
    ):
        yield one


@pytest.fixture
def requests(kit, monkeypatch):
    """Count what is asked."""
    asked = []
    request = kit.link.request

    async def counted(name, *args, **kwargs):
        asked.append(name)
        return await request(name, *args, **kwargs)

    monkeypatch.setattr(kit.link, "request", counted)
    return asked


def test_a_symbol_is_one_qualified_instrument(kit):
    aapl = kit.contract("AAPL")

    assert (aapl.conId, aapl.exchange, aapl.primaryExchange) == (265598, "SMART", "NASDAQ")


def test_a_second_look_asks_nothing_and_gives_a_copy(kit, requests):
    first = kit.contract("MSFT")
    first.exchange = "NOWHERE"

    assert kit.contract("MSFT").exchange == "SMART"
    assert kit.contract(Stock("MSFT", "SMART", "USD")).conId == first.conId
    assert len(requests) == 1


def test_both_faces_agree(kit):
    assert asyncio.run(kit.contract.aio("AAPL")) == kit.contract("AAPL")


def test_another_exchange_is_another_instrument(kit):
    vodafone = kit.contract("VOD@LSE:GBP")

    assert (vodafone.exchange, vodafone.currency) == ("LSE", "GBP")


def test_a_future_without_a_month_is_the_front_month(kit):
    es = kit.contract("FUT:ES")
    last = date.fromisoformat(es.lastTradeDateOrContractMonth)

    assert (es.exchange, es.multiplier) == ("CME", "50")
    assert clock.now().date() + timedelta(days=8) < last
    assert last < clock.now().date() + timedelta(days=8 + 100)
    assert last == expiry(load_specs()["ES"], last.year, last.month)


def test_a_named_month_is_that_month(kit):
    front = kit.contract("FUT:ES")
    month = front.lastTradeDateOrContractMonth[:6]

    assert kit.contract(f"FUT:ES:{month}") == front
    assert kit.contract(f"FUT:ES@CME:{front.lastTradeDateOrContractMonth}") == front


def test_a_root_that_ib_calls_otherwise_is_found(kit, requests):
    spec = load_specs()["6E"]
    try:
        euro = kit.contract("FUT:6E")
    except UnknownContractError as error:  # not in this universe: what was asked is what counts
        euro = error.contract

    assert (euro.symbol, euro.exchange, euro.tradingClass) == ("EUR", "CME", spec.trading_class)


def test_an_unknown_symbol_has_ibs_code(kit):
    with pytest.raises(UnknownContractError, match=r"IB 200.*NOSUCH") as caught:
        kit.contract("NOSUCH")

    assert caught.value.code == 200


def test_bad_shorthand_points_at_the_place(kit):
    with pytest.raises(ShorthandError, match="expected"):
        kit.contract("FUT:ES:2026")


def test_an_ambiguous_name_lists_the_shorthand_of_each(kit, monkeypatch):
    def details(symbol, exchange, con_id):
        return ContractDetails(Contract("STK", con_id, symbol, exchange=exchange, currency="USD"))

    async def two(*_, **__):
        return [details("DUO", "NYSE", 1), details("DUO", "ARCA", 2), details("DUO", "ARCA", 3)]

    monkeypatch.setattr(kit.link, "request", two)

    with pytest.raises(AmbiguousContractError) as caught:
        kit.contract("DUO")

    assert [name for name, _ in caught.value.candidates] == ["CONID:2", "CONID:3", "DUO@NYSE"]


def test_details_and_rules_are_ibs(kit):
    assert kit.contracts.details("AAPL").minTick == 0.01
    assert kit.contracts.tick_rule("FUT:ES").step(Decimal(5000)) == Decimal("0.25")
    assert kit.contracts.tick_rule("AAPL").step(Decimal(100)) == Decimal("0.01")


def test_sessions_know_thanksgiving_and_the_clock_change(kit):
    days = kit.contracts.sessions("AAPL", date(2025, 11, 24), date(2025, 11, 30))

    assert [day.ref_date.day for day in days] == [24, 25, 26, 28]
    assert (days[0].start.hour, days[0].end.hour, days[-1].end.hour) == (14, 21, 18)
    [summer] = kit.contracts.sessions("AAPL", date(2025, 7, 1), date(2025, 7, 1))
    assert summer.start.hour == 13


def test_a_futures_session_starts_the_evening_before(kit):
    [monday] = kit.contracts.sessions(
        "FUT:ES", date(2026, 10, 19), date(2026, 10, 19), use_rth=False
    )

    assert monday.start.date() == date(2026, 10, 18)


def test_known_sessions_are_not_asked_for_again(kit, requests):
    for _ in range(2):
        kit.contracts.sessions("SPY", date(2024, 1, 1), date(2025, 12, 31))

    assert requests.count("schedule") == 3  # two years and a bit, in parts of at most a year


def test_a_continuous_future_never_stands_for_the_real_one_whose_number_it_has(kit):
    continuous = kit.contract("CONT:ES")

    assert kit.contract(f"CONID:{continuous.conId}").secType == "FUT"
    assert kit.contract(continuous) == continuous
    assert kit.contract(continuous).secType == "CONTFUT"


def test_a_number_alone_is_routed_as_usual_whatever_was_asked_before(kit):
    direct = kit.contract("TSLA@NASDAQ")

    assert direct.exchange == "NASDAQ"
    assert kit.contract(f"CONID:{direct.conId}").exchange == "SMART"


def test_a_continuous_future_is_of_the_root_that_is_named(kit):
    assert kit.contract("CONT:SI").tradingClass == "SI"
    assert kit.contract("CONT:SI#SIL").tradingClass == "SIL"
