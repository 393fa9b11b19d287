from datetime import date

import exchange_calendars as xc
import pytest

from ibkit.contracts.venues import VENUES
from ibkit.sim import calendars
from ibkit.sim.universe import Universe


@pytest.mark.filterwarnings("ignore:.* deprecated")  # exchange_calendars on pandas 3.1
@pytest.mark.parametrize(
    ("name", "exchange"),
    [
        ("us_index", "XNYS"),
        ("london", "XLON"),
        ("xetra", "XETR"),
        ("tokyo", "XTKS"),
        ("hong_kong", "XHKG"),
    ],
)
def test_our_packed_holidays_are_those_of_exchange_calendars(name, exchange):
    first, last = date(2023, 1, 1), date(2027, 12, 31)
    truth = xc.get_calendar(exchange, start=str(first), end=str(last)).schedule

    ours = [calendars.session(name, day, use_rth=True) for day in calendars.days(name, first, last)]

    assert [one.ref_date for one in ours] == [day.date() for day in truth.index]
    assert [one.start for one in ours] == [int(at.timestamp()) for at in truth["open"]]
    assert [one.end for one in ours] == [int(at.timestamp()) for at in truth["close"]]


def test_a_half_day_of_new_york_ends_at_one_and_trades_on_until_five():
    found = calendars.blocks("us_stocks", date(2026, 11, 27))

    assert [(block.minutes, block.rth) for block in found] == [
        (330, False),
        (210, True),
        (240, False),
    ]


@pytest.mark.parametrize(
    ("name", "day", "hours"),
    [
        ("cme_equity", date(2026, 11, 24), ("23 17:00", "24 16:00")),
        ("cme_equity", date(2026, 11, 26), ("25 17:00", "26 12:00")),
        ("cme_energy", date(2026, 11, 26), ("25 17:00", "26 13:30")),
        ("cme_grains", date(2026, 11, 24), ("23 19:00", "24 13:20")),
        ("fx", date(2026, 11, 23), ("22 17:15", "23 17:00")),
        ("crypto", date(2026, 11, 22), ("22 00:00", "23 00:00")),
        ("hong_kong", date(2026, 2, 16), ("16 09:30", "16 12:00")),
        ("tokyo", date(2024, 11, 1), ("01 09:00", "01 15:00")),
        ("tokyo", date(2026, 11, 24), ("24 09:00", "24 15:30")),
    ],
)
def test_each_market_keeps_its_own_hours(name, day, hours):
    found = calendars.session(name, day, use_rth=False)

    ends = tuple(f"{calendars.local(at, name):%d %H:%M}" for at in (found.start, found.end))

    assert ends == hours


@pytest.mark.parametrize(
    ("name", "day"),
    [
        ("us_stocks", date(2026, 11, 26)),
        ("us_stocks", date(2026, 11, 28)),
        ("cme_equity", date(2026, 12, 25)),
        ("cme_equity", date(2025, 4, 18)),
        ("cme_energy", date(2026, 4, 3)),
        ("fx", date(2026, 11, 21)),
        ("ice_sugar", date(2026, 11, 26)),
    ],
)
def test_closed_days_have_no_session(name, day):
    assert calendars.session(name, day, use_rth=False) is None


@pytest.mark.parametrize("name", sorted(calendars.CALENDARS))
def test_blocks_are_in_order_whole_minutes_and_never_overlap(name):
    end = 0
    for day in calendars.days(name, date(2026, 1, 1), date(2026, 12, 31)):
        for block in calendars.blocks(name, day):
            assert end <= block.start < block.end
            assert block.start % 60 == block.end % 60 == 0
            end = block.end


def test_every_future_trades_by_the_rules_that_the_table_names():
    products = Universe.load().products

    assert len(products) > 60
    for root, product in products.items():
        calendar = calendars.CALENDARS[product.model.calendar]
        assert calendar.venue == product.spec.hours, root
        assert calendar.zone == VENUES[calendar.venue].zone


@pytest.mark.parametrize(
    ("name", "day", "hours"),
    [
        ("cme_equity", date(2025, 1, 9), "1700-0830"),
        ("cme_rates", date(2025, 1, 9), "1700-1215"),
        ("cme_metals", date(2025, 1, 9), "1700-1600"),
        ("cme_grains", date(2025, 1, 9), "1900-1215"),
        ("cme_fx", date(2025, 11, 27), "1700-1600"),
        ("cme_energy", date(2025, 11, 28), "1700-1245"),
        ("cme_grains", date(2025, 11, 28), "0830-1205"),
        ("cme_rates", date(2026, 4, 3), "1700-1015"),
        ("eurex", date(2026, 7, 15), "0210-2200"),
        ("cfe", date(2026, 11, 24), "1700-1600"),
    ],
)
def test_each_group_of_products_has_its_own_holidays(name, day, hours):
    found = calendars.session(name, day, use_rth=False)

    assert "-".join(f"{calendars.local(at, name):%H%M}" for at in (found.start, found.end)) == hours


def test_a_day_that_ends_before_the_regular_hours_has_none():
    assert calendars.session("cme_equity", date(2025, 1, 9), use_rth=True) is None
    assert calendars.session("cme_rates", date(2025, 1, 9), use_rth=True) is not None
