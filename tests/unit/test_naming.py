"""Shorthand and slugs, as people and folders use them."""

from dataclasses import replace

import pytest
from ib_async import Contract, Future, Option, Stock

from ibkit.errors import ShorthandError
from ibkit.naming import from_slug, parse, shorthand, slug


@pytest.mark.parametrize(
    ("text", "sec_type", "symbol", "exchange", "currency"),
    [
        ("AAPL", "STK", "AAPL", "SMART", "USD"),
        ("AAPL@LSE:GBP", "STK", "AAPL", "LSE", "GBP"),
        ("BRK B", "STK", "BRK B", "SMART", "USD"),
        ("FUT:ES", "FUT", "ES", "", ""),
        ("FUT:ES@CME", "FUT", "ES", "CME", ""),
        ("CONT:ES", "CONTFUT", "ES", "", ""),
        ("CASH:EURUSD", "CASH", "EUR", "IDEALPRO", "USD"),
        ("CASH:EUR.USD", "CASH", "EUR", "IDEALPRO", "USD"),
        ("IND:SPX@CBOE", "IND", "SPX", "CBOE", ""),
        ("CRYPTO:BTC", "CRYPTO", "BTC", "PAXOS", "USD"),
    ],
)
def test_shorthand_says_what_ib_calls_it(text, sec_type, symbol, exchange, currency):
    contract = parse(text)

    assert (contract.secType, contract.symbol) == (sec_type, symbol)
    assert (contract.exchange, contract.currency) == (exchange, currency)


def test_a_future_month_and_an_option_carry_their_terms():
    future = parse("FUT:ES:202612")
    option = parse("OPT:SPY:20261218:650.5P")

    assert future.lastTradeDateOrContractMonth == "202612"
    assert option.lastTradeDateOrContractMonth == "20261218"
    assert (option.strike, option.right) == (650.5, "P")


def test_a_contract_number_is_enough():
    assert parse("CONID:265598") == Contract(conId=265598)


@pytest.mark.parametrize(
    ("text", "position", "words"),
    [
        ("", 0, "a symbol"),
        ("STOCK:AAPL", 0, "one of STK"),
        ("FUT:", 4, "after the colon"),
        ("FUT:ES:26", 7, "202612"),
        ("OPT:SPY:20261218", 16, "expiry and strike"),
        ("OPT:SPY:2026:650C", 8, "yyyymmdd"),
        ("OPT:SPY:20261218:C650", 17, "strike and right"),
        ("CASH:EUR", 5, "two currencies"),
        ("CONID:abc", 6, "contract number"),
        ("AAPL@", 5, "@exchange"),
    ],
)
def test_malformed_shorthand_names_the_position_and_the_form(text, position, words):
    with pytest.raises(ShorthandError) as caught:
        parse(text)

    assert caught.value.position == position
    assert words in str(caught.value)


def test_a_slug_starts_with_letters_so_that_no_reader_makes_it_a_number():
    assert slug(parse("0700@SEHK:HKD")) == "STK-0700-SEHK-HKD"


def test_symbols_with_a_dash_or_a_blank_keep_their_parts_apart():
    contract = Stock("BF-B X", "SMART", "USD")

    assert slug(contract) == "STK-BF%2DB%20X-SMART-USD"
    assert from_slug(slug(contract)) == Contract(
        secType="STK", symbol="BF-B X", exchange="SMART", currency="USD"
    )


def test_an_unqualified_future_has_no_slug_yet():
    with pytest.raises(ValueError, match="qualify it first"):
        slug(parse("FUT:ES"))


def test_two_expiries_and_two_strikes_never_share_a_folder():
    months = {
        slug(Future("ES", month, "CME", currency="USD")) for month in ("20261218", "20270319")
    }
    strikes = {
        slug(Option("SPX", "20261218", strike, "C", "SMART", currency="USD"))
        for strike in (123456.5, 123456.0)
    }

    assert len(months) == len(strikes) == 2


def test_two_classes_of_one_symbol_never_share_a_folder():
    silver, small = (
        Future("SI", "20261229", "COMEX", currency="USD", tradingClass=name)
        for name in ("SI", "SIL")
    )

    assert slug(silver) == "FUT-SI-COMEX-USD-20261229"
    assert slug(small) == "FUT-SI-COMEX-USD-20261229-SIL"
    assert from_slug(slug(small)).tradingClass == "SIL"


def test_a_contract_that_shorthand_cannot_say_is_named_by_its_number():
    assert shorthand(Contract(secType="BAG", symbol="SPY", conId=7)) == "CONID:7"


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("FUT:ES:2026-12", "FUT:ES:202612"),
        ("FUT:ES:Z26", "FUT:ES:202612"),
        ("FUTURE:ES:DEC26", "FUT:ES:202612"),
        ("AAPL:USD", "AAPL@SMART:USD"),
        ("AAPL@LSE@GBP", "AAPL@LSE:GBP"),
        ("OPT:SPY:C650:20261218", "OPT:SPY:20261218:650C"),
        ("OPT:SPY 20261218 650 CALL", "OPT:SPY:20261218:650C"),
        ("OPT:SPY:18DEC2026:650C", "OPT:SPY:20261218:650C"),
        ("CASH:EUR/USD", "CASH:EURUSD"),
        ("FX:EURUSD", "CASH:EURUSD"),
        ("CONID:#265598", "CONID:265598"),
        ("BAG:+1 AAPL,-1 MSFT", "BAG:[+1 AAPL, -1 MSFT]"),
    ],
)
def test_the_nearest_text_that_can_be_read_is_offered(text, nearest):
    with pytest.raises(ShorthandError) as caught:
        parse(text)

    assert caught.value.nearest == nearest
    assert f"Nearest that can be read: {nearest}" in str(caught.value)


def test_a_date_that_is_none_is_refused_and_so_is_a_wrong_check_digit():
    with pytest.raises(ShorthandError, match="month or day"):
        parse("FUT:ES:202613")
    with pytest.raises(ShorthandError, match="check digit 5") as caught:
        parse("BOND:US0378331006")

    assert caught.value.position == 16


def test_a_leg_that_cannot_be_read_is_pointed_at_inside_the_combo():
    text = "BAG:[+1 FUT:ES:202612, -1 FUT:ES:2027]"
    with pytest.raises(ShorthandError) as caught:
        parse(text)

    assert text[caught.value.position :] == "2027]"


def test_two_combos_never_share_a_folder():
    texts = [f"BAG:[+1 CONID:{number}@CME, -1 CONID:5@CME]" for number in (4, 6)]
    one, other = (slug(replace(parse(text), symbol="ES")) for text in texts)

    assert one != other


def test_what_is_held_is_named_like_what_was_bought_although_ib_names_no_exchange():
    held = Contract(secType="STK", conId=265598, symbol="AAPL", currency="USD")

    assert shorthand(held) == "AAPL"
    assert shorthand(replace(held, conId=0)) == "AAPL@*:USD"
