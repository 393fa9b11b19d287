"""Which days IB's hours strings tell of, and what instruments share."""

from datetime import date

import pytest
from ib_async import Contract, ContractDetails

from ibkit.contracts.hours import last_day
from ibkit.contracts.schedules import answered, has_breaks, market_of, published

TODAY = date(2026, 11, 23)
HOURS = "20261123:0930-20261123:1600;20261124:CLOSED;20261125:0930-20261125:1300"


def told(text, zone="US/Eastern", today=TODAY):
    return published(ContractDetails(liquidHours=text, timeZoneId=zone), today, use_rth=True)


def test_closed_days_are_told_of_too():
    sessions, last = told(HOURS)

    assert [each.ref_date.day for each in sessions] == [23, 25]
    assert last == date(2026, 11, 25)
    assert told("20261123:0930-20261123:1600;20261124:CLOSED")[1] == date(2026, 11, 24)


def test_a_session_that_started_yesterday_evening_is_todays():
    sessions, last = told("20261122:1700-20261123:1600", "US/Central")

    assert [each.ref_date for each in sessions] == [TODAY]
    assert last == TODAY


@pytest.mark.parametrize("text", ["", HOURS.replace("202611", "202610")])
def test_no_hours_and_old_hours_tell_of_nothing(text):
    assert told(text) == ([], date(2026, 11, 22))


def test_hours_in_a_zone_that_nobody_knows_are_not_read():
    assert told(HOURS, "Nowhere/Atlantis") == ([], date(2026, 11, 22))


@pytest.mark.parametrize("text", ["20261123:0930-16:00", "20261123:soon"])
def test_hours_that_cannot_be_read_tell_of_nothing(text):
    assert told(text) == ([], date(2026, 11, 22))


def test_hours_without_a_zone_are_not_read():
    assert told(HOURS, "") == ([], date(2026, 11, 22))


def test_an_answer_tells_of_the_market_only_where_the_instrument_was_there():
    first, last = date(2026, 1, 1), date(2026, 6, 30)

    def days(*traded):
        told = answered(first, last, [date(2026, *each) for each in traded])
        return (told[0], told[-1]) if told else ()

    assert days((1, 2), (6, 30)) == (first, last)
    assert days((1, 9), (6, 22)) == (first, last)  # holidays
    assert days((3, 2), (6, 30)) == (date(2026, 3, 2), last)  # listed in March
    assert days((1, 2), (3, 2)) == (first, date(2026, 3, 2))  # gone since March
    assert days() == ()


def test_instruments_of_one_class_share_their_hours():
    apple, microsoft = (
        Contract("STK", n, s, exchange="SMART", primaryExchange="NASDAQ", tradingClass="NMS")
        for n, s in ((1, "AAPL"), (2, "MSFT"))
    )

    assert market_of(apple) == market_of(microsoft) == "STK-NASDAQ-NMS"
    assert market_of(Contract("STK", 3, "X")) == "CONID-3"


def test_only_contracts_that_end_have_a_last_day():
    future = Contract("FUT", lastTradeDateOrContractMonth="20261218 08:30 US/Central")

    assert last_day(future) == date(2026, 12, 18)
    assert last_day(Contract("FUT", lastTradeDateOrContractMonth="202612")) is None
    assert last_day(Contract("STK")) is None


def test_some_markets_have_breaks():
    assert has_breaks(Contract("STK", exchange="SEHK", currency="HKD"))
    assert has_breaks(Contract("FUT", symbol="ZC"))
    assert not has_breaks(Contract("FUT", symbol="ES"))
    assert not has_breaks(Contract("STK", exchange="ATLANTIS"))
