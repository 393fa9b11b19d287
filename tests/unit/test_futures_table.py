"""The futures table against what was agreed on: values by value, dates against real contracts."""

import hashlib
from datetime import date
from decimal import Decimal

import pytest

from ibkit.contracts.expiry import expiry, first_notice
from ibkit.contracts.rolls import RollRule, lives, roll_calendar
from ibkit.contracts.specs import load_specs, share_symbol

SPECS = load_specs()
# root, IB's symbol, exchange, class, currency, multiplier, magnifier, tick, months, delivery of all
# rows as the sources agree on them (spaces between, plain numbers); a value that is changed by
# mistake changes it
AGREED = "402576603b561216798ac1924cf13a0988bf2ac2ab999f80fdf17ea8fedff4bf"
# and of the rows that a mistake would cost most, or that lists on the net have wrong, in plain text
ROWS = """
ES ES CME ES USD 50 1 0.25 HMUZ cash
MES MES CME MES USD 5 1 0.25 HMUZ cash
NQ NQ CME NQ USD 20 1 0.25 HMUZ cash
YM YM CBOT YM USD 5 1 1 HMUZ cash
MYM MYM CBOT MYM USD 0.5 1 1 HMUZ cash
NKD NKD CME NKD USD 5 1 5 HMUZ cash
ZT ZT CBOT ZT USD 2000 1 0.00390625 HMUZ physical
ZN ZN CBOT ZN USD 1000 1 0.015625 HMUZ physical
TN TN CBOT TN USD 1000 1 0.015625 HMUZ physical
ZQ ZQ CBOT ZQ USD 4167 1 0.005 FGHJKMNQUVXZ cash
SR3 SOFR3 CME SR3 USD 2500 1 0.005 HMUZ cash
6E EUR CME 6E USD 125000 1 0.00005 HMUZ physical
6J JPY CME 6J USD 12500000 1 0.0000005 HMUZ physical
6S CHF CME 6S USD 125000 1 0.00005 HMUZ physical
6M 6M CME 6M USD 500000 1 0.00001 HMUZ physical
CL CL NYMEX CL USD 1000 1 0.01 FGHJKMNQUVXZ physical
NG NG NYMEX NG USD 10000 1 0.001 FGHJKMNQUVXZ physical
B COIL IPE COIL USD 1000 1 0.01 FGHJKMNQUVXZ cash
GC GC COMEX GC USD 100 1 0.1 GJMQVZ physical
SI SI COMEX SI USD 5000 1 0.005 HKNUZ physical
SIL SI COMEX SIL USD 1000 1 0.005 HKNUZ physical
PA PA NYMEX PA USD 100 1 0.5 HMUZ physical
ZC ZC CBOT ZC USD 5000 100 0.0025 HKNUZ physical
ZM ZM CBOT ZM USD 100 1 0.1 FHKNQUVZ physical
ZL ZL CBOT ZL USD 60000 100 0.0001 FHKNQUVZ physical
LE LE CME LE USD 40000 100 0.00025 GJMQVZ physical
BTC BRR CME BTC USD 5 1 5 FGHJKMNQUVXZ cash
MBT MBT CME MBT USD 0.1 1 5 FGHJKMNQUVXZ cash
ETH ETHUSDRR CME ETH USD 50 1 0.5 FGHJKMNQUVXZ cash
VX VIX CFE VX USD 1000 1 0.05 FGHJKMNQUVXZ cash
FESX ESTX50 EUREX FESX EUR 10 1 1 HMUZ cash
FDAX DAX EUREX FDAX EUR 25 1 1 HMUZ cash
FDXM DAX EUREX FDXM EUR 5 1 1 HMUZ cash
FDXS DAX EUREX FDXS EUR 1 1 1 HMUZ cash
FGBL GBL EUREX FGBL EUR 1000 1 0.01 HMUZ physical
FGBS GBS EUREX FGBS EUR 1000 1 0.005 HMUZ physical
FGBX GBX EUREX FGBX EUR 1000 1 0.02 HMUZ physical
FVS V2TX EUREX FVS EUR 100 1 0.05 FGHJKMNQUVXZ cash
DX DX NYBOT DX USD 1000 1 0.005 HMUZ physical
SB SB NYBOT SB USD 112000 100 0.0001 HKNV physical
KC KC NYBOT KC USD 37500 100 0.0005 HKNUZ physical
CC CC NYBOT CC USD 10 1 1 HKNUZ physical
CT CT NYBOT CT USD 50000 100 0.0001 HKNVZ physical
""".strip().splitlines()


def row(spec):
    """Return a row as one line of plain text."""
    numbers = (spec.multiplier, Decimal(spec.price_magnifier), spec.min_tick)
    months = "".join("FGHJKMNQUVXZ"[month - 1] for month in spec.months)
    names = (spec.symbol, spec.ib_symbol, spec.exchange, spec.trading_class, spec.currency)
    plain = (f"{each.normalize():f}" for each in numbers)
    return " ".join((*names, *plain, months, spec.delivery))


@pytest.mark.parametrize("line", ROWS, ids=lambda line: line.split()[0])
def test_a_row_is_what_the_sources_agree_on(line):
    assert row(SPECS[line.split()[0]]) == line


def test_no_row_has_been_changed_by_mistake():
    lines = "\n".join(sorted(row(spec) for spec in SPECS.values()))

    assert len(SPECS) == 73
    assert hashlib.sha256(lines.encode()).hexdigest() == AGREED


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_every_row_is_complete(spec):
    for name in ("name", "ib_symbol", "exchange", "trading_class", "hours", "last_trade_text"):
        assert getattr(spec, name), name
    assert len(spec.currency) == 3
    assert spec.delivery in {"cash", "physical"}
    assert spec.months


# last trading days of contracts that have expired, or that their exchange has announced
EXPIRED = """
ES 202009 2020-09-18
ES 202506 2025-06-20
NQ 202403 2024-03-15
RTY 202206 2022-06-17
ES 202606 2026-06-18
YM 202606 2026-06-18
CL 202005 2020-04-21
CL 202501 2024-12-19
CL 202504 2025-03-20
MCL 202501 2024-12-18
NG 202412 2024-11-26
HO 202412 2024-11-29
RB 202501 2024-12-31
B 202501 2024-11-29
ZN 202412 2024-12-19
ZB 202406 2024-06-18
ZT 202412 2024-12-31
ZQ 202411 2024-11-29
SR3 202412 2025-03-18
ZC 202412 2024-12-13
ZS 202501 2025-01-14
ZW 202403 2024-03-14
6E 202412 2024-12-16
6E 202503 2025-03-17
6C 202412 2024-12-17
GC 202406 2024-06-26
SI 202412 2024-12-27
HG 202503 2025-03-27
LE 202412 2024-12-31
HE 202412 2024-12-13
BTC 202403 2024-03-28
BTC 202412 2024-12-27
VX 202406 2024-06-18
VX 202412 2024-12-18
VX 202501 2025-01-22
FESX 202412 2024-12-20
FDAX 202503 2025-03-21
FGBL 202412 2024-12-06
DX 202412 2024-12-16
SB 202503 2025-02-28
KC 202412 2024-12-18
CC 202412 2024-12-13
CT 202412 2024-12-06
CT 202507 2025-07-09
CT 202603 2026-03-09
""".strip().splitlines()


@pytest.mark.parametrize("line", EXPIRED)
def test_an_expired_contract_ended_when_it_did(line):
    root, month, last = line.split()

    assert expiry(SPECS[root], int(month[:4]), int(month[4:])) == date.fromisoformat(last)


NOTICED = """
GC 202412 2024-11-29
SI 202503 2025-02-28
HG 202605 2026-04-30
PL 202504 2025-03-31
ZN 202412 2024-11-29
ZN 202506 2025-05-30
ZC 202412 2024-11-29
ZS 202501 2024-12-31
ZW 202507 2025-06-30
CT 202412 2024-11-22
""".strip().splitlines()


@pytest.mark.parametrize("line", NOTICED)
def test_first_notice_was_when_it_was(line):
    root, month, day = line.split()

    assert first_notice(SPECS[root], int(month[:4]), int(month[4:])) == date.fromisoformat(day)


RULES = (
    RollRule(),
    RollRule(days=0, before="expiry"),
    RollRule(days=1, before="first notice"),
    RollRule(days=2, before="expiry", business_days=True),
)


@pytest.mark.parametrize("rule", RULES, ids=repr)
def test_no_rule_holds_a_delivered_contract_into_its_first_notice(rule):
    for spec in SPECS.values():
        every = lives(spec, date(2025, 1, 1), date(2027, 12, 31))
        frame = roll_calendar(every, spec.calendar, rule)
        noticed = frame[frame["first_notice"].notna()]

        assert spec.delivery == "physical" or noticed.empty
        assert (noticed["roll"] < noticed["first_notice"]).all(), spec.symbol
        assert (frame["roll"] <= frame["expiry"]).all(), spec.symbol
        assert frame["roll"].is_monotonic_increasing, spec.symbol


def test_a_symbol_of_several_products_does_not_decide():
    assert share_symbol("DAX") == ("FDAX", "FDXM", "FDXS")
    assert share_symbol("DAX", multiplier="5") == ()
    assert {symbol for symbol in SPECS if share_symbol(symbol)} == set()
