"""One right instrument, or a precise word about why not; and as few requests as possible."""

import asyncio
import threading

import pytest
from ib_async import Contract, ContractDetails

import ibkit
from ibkit.errors import (
    AmbiguousContractError,
    ContractNotAllowedError,
    DelistedContractError,
    ExpiredContractError,
    NotConnectedError,
    RequestTimeoutError,
    UnknownContractError,
    WrongCurrencyError,
    refused,
)
from ibkit.naming import parse, shorthand
from ibkit.sim.testing import gateway


@pytest.fixture(scope="module")
def port():
    with gateway() as running:
        yield running.port


@pytest.fixture
def connect(port, tmp_path, monkeypatch):
    """Connect to one gateway, each time with the same root and a fresh memory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ibkit.toml").write_text("")
    return lambda: ibkit.connect(port=port, root=tmp_path / "root")


@pytest.fixture
def kit(connect):
    with connect() as one:
        yield one


def test_a_class_picks_one_of_two_products_of_a_symbol(kit):
    silver, small = kit.contract("FUT:SI"), kit.contract("FUT:SI#SIL")

    assert (silver.tradingClass, silver.multiplier) == ("SI", "5000")
    assert (small.tradingClass, small.multiplier) == ("SIL", "1000")
    assert kit.contract(shorthand(small)).conId == small.conId


def test_a_combo_is_made_of_legs_with_numbers(kit):
    months = kit.contracts.resolve(["FUT:ES"]).contracts["FUT:ES"]
    combo = kit.contract(f"BAG:[+1 CONID:{months.conId}, -1 FUT:ES]")

    assert [(leg.conId, leg.action) for leg in combo.comboLegs] == [
        (months.conId, "BUY"),
        (months.conId, "SELL"),
    ]
    assert (combo.symbol, combo.exchange, combo.currency) == ("ES", "CME", "USD")
    assert kit.contracts.details(combo).minTick == 0.25


def test_another_currency_and_another_symbol_have_their_own_errors(kit):
    with pytest.raises(WrongCurrencyError, match="VOD@SMART:GBP") as wrong:
        kit.contract("VOD@LSE:USD")
    with pytest.raises(UnknownContractError, match=r"There is: AAPL") as unknown:
        kit.contract("APPL")

    assert wrong.value.code == unknown.value.code == 200
    assert not isinstance(unknown.value, WrongCurrencyError)
    for name in (*wrong.value.candidates, *unknown.value.candidates):
        assert kit.contract(name).conId


def test_what_has_expired_is_told_so(kit):
    with pytest.raises(ExpiredContractError, match="expired options not at all"):
        kit.contract("OPT:SPY:20251219:650C")


def test_what_the_account_may_not_trade_is_no_unknown_contract():
    error = refused(203, "The security is not available or allowed for this account", None)

    assert isinstance(error, ContractNotAllowedError)
    assert "Client Portal" in str(error)


def test_what_ib_has_forgotten_is_delisted(connect, monkeypatch):
    with connect() as first:
        first.contract("INTC")
    with connect() as kit:
        monkeypatch.setattr(kit.contracts, "_ask", _nothing)
        kit.contracts._open_book = lambda: _all_too_old(kit)

        with pytest.raises(DelistedContractError, match="last seen on"):
            kit.contract("INTC")


async def _nothing(description):
    raise UnknownContractError(200, "No security definition has been found", description)


def _all_too_old(kit):
    from ibkit.contracts.book import AGES, Book

    return Book(kit.store, simulated=True, ages=dict.fromkeys(AGES, 0.0))


def test_a_second_process_asks_nothing(connect):
    with connect() as first:
        one = first.contract("NVDA"), first.contract("FUT:ES")
        assert first.contracts.requests == 2
    with connect() as second:
        assert (second.contract("NVDA"), second.contract("FUT:ES")) == one
        assert second.contracts.requests == 0


def test_without_a_connection_old_answers_count_and_the_rest_says_why(connect, monkeypatch):
    with connect() as kit:
        nvda = kit.contract("NVDA")
        kit.contracts._found.clear()
        kit.contracts._book_made.ages = dict.fromkeys(kit.contracts._book_made.ages, 0.0)
        monkeypatch.setattr(kit.link, "state", "reconnecting")
        monkeypatch.setattr(kit.contracts, "_ask", _offline)

        assert kit.contract("NVDA") == nvda
        with pytest.raises(NotConnectedError):
            kit.contract("TSLA")
        monkeypatch.undo()


async def _offline(_):
    raise NotConnectedError("reconnecting", "contract details")


def test_a_new_number_under_an_old_name_is_noticed(connect, monkeypatch):
    with connect() as kit:
        old = kit.contract("JPM")
        kit.contracts._found.clear()
        kit.contracts._book_made.ages = dict.fromkeys(kit.contracts._book_made.ages, 0.0)
        monkeypatch.setattr(kit.contracts, "_ask", _another)
        kit.contract("JPM")

        [row] = kit.contracts.changes().query("field == 'con_id'").to_dict("records")
        assert (row["entry"], row["before"], row["after"]) == ("JPM", str(old.conId), "77")


async def _another(description):
    found = Contract("STK", 77, "JPM", exchange="SMART", currency="USD", localSymbol="JPM")
    return [ContractDetails(found, minTick=0.01)]


def test_a_listing_of_the_users_own_is_what_a_name_means(connect, tmp_path):
    (tmp_path / "contracts.toml").write_text('[listings]\nVOD = "VOD@LSE:GBP"\n')
    with connect() as kit:
        assert kit.contract("VOD").currency == "GBP"
        assert "contracts.toml: 1 listings" in repr(kit.contracts)


def test_an_ambiguous_name_is_a_table_whose_shorthand_picks_each(kit, monkeypatch):
    async def two(_):
        return [_option(1, "SPX"), _option(2, "SPXW")]

    monkeypatch.setattr(kit.contracts, "_ask", two)
    with pytest.raises(AmbiguousContractError) as caught:
        kit.contract("OPT:SPX:20261218:6500C")

    names = [row["shorthand"] for row in caught.value.table]
    assert [parse(name).tradingClass for name in names] == ["SPX", "SPXW"]
    head, *lines = str(caught.value).splitlines()[1:]
    assert head.split()[:2] == ["shorthand", "local"]
    assert [line.split()[0] for line in lines] == names


def _option(con_id, name):
    option = Contract("OPT", con_id, "SPX", "20261218", 6500.0, "C", "100", "SMART")
    option.currency, option.tradingClass = "USD", name
    option.localSymbol = f"{name:<6}261218C06500000"
    return ContractDetails(option)


def test_a_batch_shares_requests_and_lists_what_failed(kit):
    chain = kit.contracts.chain("SPY")
    day = chain.select(days=30, cycle="monthly").expiries[0]
    strikes = [640 + 5 * n for n in range(10)]
    options = [f"OPT:SPY:{day}:{strike}{right}" for strike in strikes for right in "CP"]

    found = kit.contracts.resolve(["AAPL", *options, "FUT:", "NOSUCH"])

    assert list(found.contracts) == ["AAPL", *options]
    assert {*found.failures} == {"FUT:", "NOSUCH"}
    # AAPL; all options together; NOSUCH three times: as it is, elsewhere, and by search
    assert found.requests == 5
    assert kit.contract(options[3]) == found.contracts[options[3]]
    frame = found.frame()
    assert frame.loc["FUT:", "problem"].startswith("ShorthandError")
    assert frame.loc[options[0], "con_id"] == found.contracts[options[0]].conId
    with pytest.raises(UnknownContractError):
        kit.contracts.resolve(["NOSUCH"], on_error="raise")


def test_a_chain_is_one_request_and_is_qualified_by_one_an_expiry(connect):
    with connect() as kit:
        chain = kit.contracts.chain("QQQ")
        assert chain.requests == 1
        assert kit.contracts.requests == 2  # the underlying's own details, and the chain
        some = chain.select(days=(0, 9))
        found = kit.contracts.qualify(some)

        assert found.requests == len(some.expiries) > 1
        assert found.expiries == some.expiries
        assert found.table["con_id"].is_unique
        one = found.contracts()[7]
        assert kit.contract(f"CONID:{one.conId}").localSymbol == one.localSymbol
        assert kit.contracts.qualify(some).requests == 0
    with connect() as kit:
        again = kit.contracts.qualify(kit.contracts.chain("QQQ").select(days=(0, 9), right="C"))
        assert kit.contracts.requests == 0
        assert len(again) == len(found) / 2


def test_options_on_a_future_come_class_by_class(kit):
    chain = kit.contracts.chain("FUT:ES")
    found = kit.contracts.qualify(chain.select(strikes=(6500, 6600), expiries=chain.expiries[:2]))

    assert {*found.classes} <= {"ES", "EW"}
    assert len(found)
    assert all(each.secType == "FOP" for each in found.contracts())


@pytest.mark.parametrize("number", ["US912810TM09", "912810TM0"])
def test_a_bond_is_found_by_its_number_and_keeps_it(kit, number):
    bond = kit.contract(f"BOND:{number}")

    assert (bond.secType, bond.secId) == ("BOND", number)
    assert shorthand(bond) == f"BOND:{number}"


def test_no_options_is_an_error_that_says_where_there_are_some(kit):
    with pytest.raises(UnknownContractError, match="not NOWHERE"):
        kit.contracts.chain("SPY", exchange="NOWHERE")


async def _until(condition):
    """Wait until it holds."""
    while not condition():  # noqa: ASYNC110 - of what other threads do
        await asyncio.sleep(0.01)


def test_a_batch_that_is_stopped_in_the_middle_keeps_what_was_answered(connect, monkeypatch):
    with connect() as kit:
        real, hanging, stopped = kit.contracts._ask, threading.Event(), threading.Event()

        async def ask(description):
            if description.symbol != "SLOW":
                return await real(description)
            hanging.set()
            try:
                return await asyncio.Future()
            finally:
                stopped.set()

        async def stop_in_the_middle():
            batch = asyncio.ensure_future(kit.contracts.resolve.aio(["SLOW", "TSLA", "KO"]))
            await _until(lambda: hanging.is_set() and len(kit.contracts._found) >= 6)
            batch.cancel()
            with pytest.raises(asyncio.CancelledError):
                await batch

        monkeypatch.setattr(kit.contracts, "_ask", ask)
        asyncio.run(stop_in_the_middle())

        assert stopped.wait(10)
        assert {"TSLA", "KO"} <= {*kit.contracts.known().index}
        assert kit.contract("NVDA").symbol == "NVDA"


def test_a_batch_that_ends_with_an_error_leaves_no_question_behind(kit, monkeypatch):
    asked, stopped = threading.Event(), threading.Event()

    async def ask(description):
        if description.symbol == "SLOW":
            asked.set()
            try:
                return await asyncio.Future()
            finally:
                stopped.set()
        await _until(asked.is_set)
        return await _nothing(description)

    monkeypatch.setattr(kit.contracts, "_ask", ask)
    with pytest.raises(UnknownContractError):
        kit.contracts.resolve(["SLOW", "NOSUCH"], on_error="raise")

    assert stopped.wait(10)


def test_a_request_that_fails_costs_a_batch_its_own_names_only(kit, monkeypatch):
    real = kit.contracts._ask

    async def ask(description):
        if description.secType == "OPT":
            raise RequestTimeoutError("contract details", 120)
        return await real(description)

    monkeypatch.setattr(kit.contracts, "_ask", ask)
    found = kit.contracts.resolve(["MSFT", "OPT:IWM:20261218:200C", "OPT:IWM:20261218:201C"])

    assert list(found.contracts) == ["MSFT"]
    assert {type(each) for each in found.failures.values()} == {RequestTimeoutError}


def test_one_name_is_no_batch(kit):
    with pytest.raises(TypeError, match=r"kit\.contract\('AAPL'\)"):
        kit.contracts.resolve("AAPL")
