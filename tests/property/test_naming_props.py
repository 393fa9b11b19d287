"""Names survive the trip there and back, whatever the symbol."""

from hypothesis import given
from hypothesis import strategies as st
from ib_async import Contract

from ibkit.errors import ShorthandError
from ibkit.naming import from_slug, parse, shorthand, slug

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
