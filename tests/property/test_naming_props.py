"""Names survive the trip there and back, whatever the symbol."""

from hypothesis import given
from hypothesis import strategies as st
from ib_async import ComboLeg, Contract

from ibkit.errors import ShorthandError
from ibkit.naming import from_slug, legs_of, make_combo, parse, shorthand, slug

symbols = st.text("ABCXYZ0189 .-&/'", min_size=1, max_size=9).filter(lambda s: s.strip() == s)
expiries = st.dates().map(lambda day: f"{day:%Y%m%d}".zfill(8))
strikes = st.integers(1, 10_000_000).map(lambda cents: cents / 100)


@st.composite
def contracts(draw):
    sec_type = draw(st.sampled_from(["STK", "FUT", "OPT", "FOP", "CRYPTO", "CFD"]))
    contract = Contract(
        secType=sec_type,
        symbol=draw(symbols),
        exchange=draw(st.sampled_from(["SMART", "LSE", "SEHK", "CME", "PAXOS"])),
        currency=draw(st.sampled_from(["USD", "GBP", "HKD"])),
    )
    if sec_type in {"FUT", "OPT", "FOP"}:
        contract.lastTradeDateOrContractMonth = draw(expiries)
    if sec_type in {"OPT", "FOP"}:
        contract.strike, contract.right = draw(strikes), draw(st.sampled_from("CP"))
    return contract


@given(contracts(), st.sampled_from(["", "6E", "SIL", "SPXW"]))
def test_a_slug_leads_back_to_its_contract(contract, trading_class):
    if contract.secType in {"FUT", "OPT", "FOP"}:
        contract.tradingClass = trading_class if trading_class != contract.symbol else ""

    assert from_slug(slug(contract)) == contract


@given(contracts())
def test_shorthand_leads_back_to_its_contract(contract):
    assert parse(shorthand(contract)) == contract


@given(contracts(), contracts())
def test_two_contracts_share_a_slug_only_when_they_are_the_same(one, other):
    assert (slug(one) == slug(other)) == (one == other)


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused_with_our_error(text):
    try:
        contract = parse(text)
    except ShorthandError as error:
        assert 0 <= error.position <= len(text)
    else:
        assert contract.symbol or contract.conId


# every character that the grammar needs for itself, and blanks in odd places
odd_symbols = st.text("AZ09 .@:#%[],*-/é", min_size=1, max_size=8)


@st.composite
def descriptions(draw):
    """Draw anything that shorthand has words for."""
    kinds = ["STK", "FUT", "CONTFUT", "OPT", "FOP", "CRYPTO", "CFD", "IND"]
    contract = Contract(secType=draw(st.sampled_from(kinds)), symbol=draw(odd_symbols))
    contract.exchange = draw(st.sampled_from(["", "SMART", "LSE", "CME", "ENEXT.BE"]))
    contract.currency = draw(st.sampled_from(["", "USD", "GBP"]))
    if contract.secType == "STK":
        contract.primaryExchange = draw(st.sampled_from(["", "NASDAQ", "NYSE"]))
    if contract.secType in {"FUT", "CONTFUT", "OPT", "FOP"}:
        contract.tradingClass = draw(st.just("") | odd_symbols)
    if contract.secType == "FUT":
        contract.lastTradeDateOrContractMonth = draw(st.sampled_from(["", "202612"]) | expiries)
    if contract.secType in {"OPT", "FOP"}:
        contract.lastTradeDateOrContractMonth = draw(expiries)
        contract.strike, contract.right = draw(strikes), draw(st.sampled_from("CP"))
    if contract.primaryExchange == contract.exchange:
        contract.primaryExchange = ""
    return contract


pairs = st.builds(
    lambda one, other, exchange: Contract(
        secType="CASH", symbol=one, currency=other, exchange=exchange
    ),
    st.sampled_from(["EUR", "GBP"]),
    st.sampled_from(["USD", "JPY"]),
    st.sampled_from(["IDEALPRO", "FXCONV"]),
)
numbers = st.builds(
    lambda number, exchange: Contract(conId=number, exchange=exchange),
    st.integers(1, 2**31 - 1),
    st.sampled_from(["", "SMART", "CME"]),
)
named = descriptions() | pairs | numbers
legs = st.lists(st.tuples(st.integers(-99, 99).filter(bool), named), min_size=2, max_size=4)


@given(named)
def test_whatever_shorthand_has_words_for_comes_back(contract):
    assert parse(shorthand(contract)) == contract


@given(legs)
def test_a_combo_comes_back_with_its_legs(parts):
    combo = make_combo(parts)
    again = parse(shorthand(combo))

    assert again == combo
    assert legs_of(again) == parts


@given(st.lists(st.tuples(st.integers(1, 99), st.integers(1, 2**31 - 1)), min_size=1, max_size=4))
def test_the_slug_of_a_combo_leads_back_to_its_legs(parts):
    combo = Contract(secType="BAG", symbol="ES", exchange="CME", currency="USD")
    combo.comboLegs = [ComboLeg(number, ratio, "SELL", "CME") for ratio, number in parts]

    assert from_slug(slug(combo)) == combo


@given(st.text(max_size=40) | st.from_regex(r"(FUT|OPT|BAG|BOND|CASH|CONID|X):[^\n]{0,30}"))
def test_what_is_refused_comes_with_a_text_that_is_not(text):
    try:
        parse(text)
    except ShorthandError as error:
        parse(error.nearest)


VALID = [
    *("AAPL", "AAPL@LSE:GBP", "BRK B", "AAPL@SMART/NASDAQ", "FUT:ES", "FUT:ES:202612", "CONT:ES"),
    *("FUT:ES@CME:USD:20261218", "FUT:SI#SIL:202612", "OPT:SPY:20261218:650C", "CASH:EURUSD"),
    *("OPT:SPX#SPXW:20261218:6500.5P", "FOP:ES#EW@CME:20261231:6500C", "IND:SPX", "CRYPTO:BTC"),
    *("BOND:US0378331005", "BOND:912810TM0", "CFD:IBUS500", "CONID:265598@SMART", "A%40B"),
    *("BAG:[+1 FUT:ES:202612, -1 FUT:ES:202703]", "BAG:[+1 CONID:5@CME, -2 AAPL]"),
]


@st.composite
def slips(draw):
    """Draw a valid name with a few slips of the pen."""
    text = draw(st.sampled_from(VALID))
    for _ in range(draw(st.integers(1, 4))):
        at, until = sorted(draw(st.tuples(*[st.integers(0, len(text))] * 2)))
        put = draw(st.text(max_size=3) | st.sampled_from([*":@#/[],+-% ", *VALID]))
        text = text[:at] + put + text[draw(st.sampled_from([at, at + 1, until])) :]
    return text if draw(st.booleans()) else text.swapcase()


@given(slips())
def test_a_slip_of_the_pen_is_read_and_comes_back_or_is_refused_with_what_is_near(text):
    try:
        contract = parse(text)
    except ShorthandError as error:
        assert 0 <= error.position <= len(text)
        parse(error.nearest)
    else:
        assert parse(shorthand(contract)) == contract
