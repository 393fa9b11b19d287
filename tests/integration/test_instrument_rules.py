"""Hours, rolls, money and margin of instruments, against the simulated gateway."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

import ibkit
from ibkit import clock
from ibkit.contracts import Contracts
from ibkit.contracts.hours import TradeDateError
from ibkit.contracts.margin import NoMarginError
from ibkit.contracts.overrides import HolidayRow, MarginRow, Overrides, RollRow
from ibkit.contracts.rolling import NotAFutureError
from ibkit.contracts.rolls import RollRule, RollRuleError
from ibkit.contracts.ticks import NotANumberError
from ibkit.contracts.timetable import BeyondTimetableError, NaiveTimeError
from ibkit.errors import NotConnectedError, UnknownContractError
from ibkit.sim.testing import gateway

BLACK_FRIDAY = date(2025, 11, 28)


def at(*moment):
    return datetime(*moment, tzinfo=UTC)


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    with (
        gateway() as running,
        ibkit.connect(port=running.port, root=tmp_path_factory.mktemp("root")) as one,
    ):
        yield one


@pytest.fixture
def deaf(kit, monkeypatch):
    """Let no request through."""

    async def refuse(name, *_, **__):
        raise NotConnectedError("reconnecting", name)

    monkeypatch.setattr(kit.link, "request", refuse)


def fresh(kit, tmp_path, **options):
    return Contracts(kit.data, cache=tmp_path, **options)


@pytest.mark.parametrize(
    ("moment", "use_rth", "expected"),
    [
        (at(2025, 11, 28, 17, 59), True, True),
        (at(2025, 11, 28, 18, 0), True, False),
        (at(2025, 11, 28, 18, 30), False, True),
        (at(2025, 11, 27, 16, 0), True, False),
        (at(2025, 7, 1, 13, 30), True, True),
        (at(2025, 12, 1, 13, 30), True, False),
    ],
)
def test_a_stock_is_open_as_its_day_says(kit, moment, use_rth, expected):
    assert kit.contracts.is_open("AAPL", moment, use_rth=use_rth) is expected
    assert asyncio.run(kit.contracts.is_open.aio("AAPL", moment, use_rth=use_rth)) is expected


def test_lunch_is_closed_although_the_schedule_does_not_tell(kit):
    monday = date(2025, 11, 24)

    whole = kit.contracts.sessions("700@SEHK:HKD", monday, monday)
    parts = kit.contracts.sessions("700@SEHK:HKD", monday, monday, breaks=True)

    assert (len(whole), len(parts)) == (1, 2)
    assert {each.source for each in parts} == {"IB"}
    assert not kit.contracts.is_open("700@SEHK:HKD", at(2025, 11, 24, 4, 30))
    assert kit.contracts.minutes_open(
        "700@SEHK:HKD", at(2025, 11, 24), at(2025, 11, 25)
    ) == pytest.approx(330)


def test_the_next_opening_skips_the_holiday(kit):
    wednesday_evening = at(2025, 11, 26, 23)

    assert kit.contracts.next_open("AAPL", wednesday_evening) == at(2025, 11, 28, 14, 30)
    assert kit.contracts.next_open("CASH:EURUSD") > clock.now()


def test_one_year_is_asked_once_and_answers_for_its_neighbours(kit, asked):
    for day in range(1, 20):
        kit.contracts.is_open("MSFT", at(2023, 5, day, 15))
        kit.contracts.is_open("NVDA", at(2023, 5, day, 15))

    assert asked.count("schedule") <= 2  # MSFT and NVDA share NASDAQ's


def test_schedules_outlive_the_process_and_serve_offline(kit, tmp_path, monkeypatch):
    start, end = date(2025, 11, 24), date(2025, 11, 30)
    known = fresh(kit, tmp_path).sessions("AAPL", start, end)
    again = fresh(kit, tmp_path)
    again.contract("AAPL")

    async def refuse(name, *_, **__):
        raise AssertionError(name)

    monkeypatch.setattr(kit.link, "request", refuse)

    assert again.sessions("AAPL", start, end) == known
    assert {each.source for each in known} == {"IB"}


def test_without_ib_a_calendar_answers_and_says_so(kit, tmp_path, deaf):
    kit.contracts  # noqa: B018 - it is made while it can be
    offline = fresh(kit, tmp_path)
    offline._found.update(kit.contracts._found)

    found = offline.sessions("AAPL", BLACK_FRIDAY, BLACK_FRIDAY)

    assert [each.source for each in found] == ["exchange_calendars"]
    assert found[0].end == at(2025, 11, 28, 18)


def test_days_to_come_are_ibs_as_far_as_it_tells_and_a_calendars_beyond(kit):
    today = clock.now().date()

    found = kit.contracts.sessions("AAPL", today, today + timedelta(days=30))

    sources = [each.source for each in found]
    assert sources == sorted(sources)  # IB first
    assert set(sources) == {"IB", "exchange_calendars"}


def test_an_expired_contract_does_not_trade_on(kit):
    es = kit.contract("FUT:ES")
    last = date.fromisoformat(es.lastTradeDateOrContractMonth)

    after = kit.contracts.sessions(es, last - timedelta(days=1), last + timedelta(days=20))

    assert after[-1].ref_date == last


def test_what_the_user_knows_about_holidays_counts(kit, tmp_path):
    rows = {"NASDAQ": HolidayRow(closed=(date(2025, 11, 25),), early={date(2025, 11, 26): "12:00"})}
    mine = fresh(kit, tmp_path, overrides=Overrides(holidays=rows))

    days = mine.sessions("AAPL", date(2025, 11, 24), date(2025, 11, 26))

    assert [each.ref_date.day for each in days] == [24, 26]
    assert (days[1].end, days[1].source) == (at(2025, 11, 26, 17), "overrides")


def test_questions_that_make_no_sense_are_refused(kit):
    with pytest.raises(NaiveTimeError):
        kit.contracts.is_open("AAPL", datetime(2025, 11, 24))  # noqa: DTZ001 - what is tested
    with pytest.raises(NaiveTimeError):
        kit.contracts.minutes_open("AAPL", datetime(2025, 11, 24), at(2025, 11, 25))  # noqa: DTZ001
    with pytest.raises(NaiveTimeError):
        kit.contracts.is_open("AAPL", BLACK_FRIDAY)
    with pytest.raises(TradeDateError, match="start"):
        kit.contracts.sessions("AAPL", at(2025, 11, 24), BLACK_FRIDAY)
    with pytest.raises(TradeDateError, match="before the start"):
        kit.contracts.timetable("AAPL", BLACK_FRIDAY, "2025-11-24")
    with pytest.raises(UnknownContractError):
        kit.contracts.is_open("NOSUCH")
    gone = kit.contract("FUT:ES")
    last = date.fromisoformat(gone.lastTradeDateOrContractMonth)
    with pytest.raises(BeyondTimetableError):
        kit.contracts.next_open(gone, at(last.year, last.month, last.day) + timedelta(days=3))


def test_a_date_may_be_text(kit):
    [day] = kit.contracts.sessions("AAPL", "2025-11-28", "2025-11-28")

    assert day.ref_date == BLACK_FRIDAY


def test_a_combo_trades_when_its_first_leg_does(kit):
    bag = kit.contracts.roll_spread("ES")

    assert kit.contracts.is_open(bag, at(2025, 11, 25, 3), use_rth=False)
    assert not kit.contracts.is_open(bag, at(2025, 11, 25, 22, 30), use_rth=False)


def test_a_timetable_answers_for_a_whole_frame(kit):
    table = kit.contracts.timetable("AAPL", date(2025, 11, 24), date(2025, 11, 29))

    assert table.minutes_open(at(2025, 11, 24), at(2025, 11, 29)) == 3 * 390 + 210


# --- futures --------------------------------------------------------------------------------------


def test_the_table_agrees_with_the_gateway(kit):
    assert kit.contracts.check_specs("ES", "NQ", "CL", "GC", "ZN", "ZC", "6E").empty
    assert kit.contracts.spec("FUT:CL").min_tick == Decimal("0.01")
    assert kit.contracts.check_specs("MHG")["field"].tolist() == ["listing"]


def test_the_roll_calendar_has_ibs_expiries(kit):
    frame = kit.contracts.roll_calendar("CL", clock.now().date())

    assert "IB" in set(frame["source"])
    assert frame["roll"].is_monotonic_increasing
    assert frame.attrs["instrument"] == "FUT:CL"


def test_the_roll_spread_sells_the_front_and_buys_the_next(kit):
    bag = kit.contracts.roll_spread("FUT:ES")
    near, far = bag.comboLegs

    assert near.conId == kit.contract("FUT:ES").conId
    assert (near.action, far.action) == ("SELL", "BUY")
    months = [
        kit.contract(f"CONID:{leg.conId}").lastTradeDateOrContractMonth for leg in (near, far)
    ]
    assert months == sorted(months)


def test_a_spread_of_named_months(kit):
    first, second = kit.contracts.roll_calendar("ES", clock.now().date())["contract"][:2]

    bag = kit.contracts.roll_spread("ES", first, second)

    assert len(bag.comboLegs) == 2
    with pytest.raises(RollRuleError, match="after"):
        kit.contracts.roll_spread("ES", second, first)
    with pytest.raises(UnknownContractError, match="209912"):
        kit.contracts.roll_spread("ES", "209912")


def test_the_front_month_by_volume_asks_for_volumes(kit, asked):
    es = kit.contracts.front("ES", rule=RollRule("volume"))

    assert es.secType == "FUT"
    assert asked.count("daily volumes") >= 2
    with pytest.raises(RollRuleError, match="open interest"):
        kit.contracts.front("ES", rule=RollRule("open interest"))


def test_what_the_user_says_about_rolls_moves_the_front_month(kit, tmp_path):
    rows = {"ES": RollRow(days=120)}
    mine = fresh(kit, tmp_path, overrides=Overrides(source="contracts.toml", roll=rows))

    assert "overridden: days=120 (contracts.toml)" in repr(mine.roll_rule("ES"))
    usual = kit.contract("FUT:ES").lastTradeDateOrContractMonth
    assert mine.contract("FUT:ES").lastTradeDateOrContractMonth > usual


def test_what_is_no_future_is_refused(kit):
    for name in ("AAPL", "NOSUCH", "CASH:EURUSD"):
        with pytest.raises(NotAFutureError, match="root"):
            kit.contracts.spec(name)


# --- money and margin -----------------------------------------------------------------------------


def test_money_per_point_and_tick(kit):
    assert kit.contracts.point_value("FUT:ES") == 50
    assert kit.contracts.tick_value("FUT:ES", 6000) == Decimal("12.50")
    assert kit.contracts.tick_value("FUT:ZC", 450) == Decimal("12.50")
    assert kit.contracts.notional("FUT:ZC", 2, "450.25") == Decimal(45025)
    assert kit.contracts.units_for("AAPL", 10_000, "189.5") >= 52
    assert kit.contracts.size_rule("CASH:EURUSD").fits("0.01")
    assert kit.contracts.round_price("FUT:ES", "6000.30", towards="BUY") == Decimal("6000.25")


def test_margin_is_ibs_and_is_remembered_with_its_age(kit, asked):
    first = kit.contracts.margin("FUT:ES")
    count = asked.count("what-if order")
    second = kit.contracts.margin("FUT:ES")

    assert second is first
    assert (count, asked.count("what-if order")) == (2, 2)
    assert first.long_initial > first.long_maintenance > 0
    assert first.short_initial > 0
    assert (first.source, first.currency, first.account[:5]) == ("IB what-if", "USD", "DUSIM")
    assert first.age_s >= 0
    kit.contracts.margin("FUT:ES", max_age_s=0)
    assert asked.count("what-if order") == 4


def test_two_need_twice_as_much(kit):
    one, two = kit.contracts.margin("FUT:CL"), kit.contracts.margin("FUT:CL", 2)

    assert two.long_initial == pytest.approx(2 * one.long_initial, rel=Decimal("0.01"))


def test_two_spreads_have_two_margins(kit):
    near = kit.contracts.roll_spread("ES")
    crude = kit.contracts.roll_spread("CL")

    assert kit.contracts.margin(near).instrument != kit.contracts.margin(crude).instrument


def test_a_frame_of_margins_has_a_row_for_each_and_the_reason_of_none(kit):
    frame = kit.contracts.margins(["AAPL", "FUT:ES", "IND:SPX@CBOE", "NOSUCH"])

    assert len(frame) == 4
    assert frame["problem"].isna().tolist() == [True, True, False, False]
    assert isinstance(frame["long_initial"][0], Decimal)


def test_a_static_margin_stands_in_and_says_so(kit, tmp_path, monkeypatch):
    rows = {"ES": MarginRow(initial="21000", maintenance="19000", initial_short="22000")}
    mine = fresh(kit, tmp_path, overrides=Overrides(source="contracts.toml", margins=rows))
    mine.contract("FUT:ES")
    ask = kit.link.request

    async def refuse(name, *args, **options):
        if name == "what-if order":
            raise NotConnectedError("reconnecting", name)
        return await ask(name, *args, **options)

    monkeypatch.setattr(kit.link, "request", refuse)

    found = mine.margin("FUT:ES", 2)

    assert (found.long_initial, found.short_initial) == (42_000, 44_000)
    assert (found.long_maintenance, found.short_maintenance) == (38_000, 38_000)
    assert (found.source, found.currency) == ("static", "USD")
    assert "contracts.toml" in found.note
    with pytest.raises(NoMarginError, match="margins"):
        mine.margin("AAPL")


def test_margins_of_nothing_or_of_strangers_are_refused(kit):
    with pytest.raises(ValueError, match="positive"):
        kit.contracts.margin("AAPL", 0)
    with pytest.raises(NotANumberError, match="abc"):
        kit.contracts.margin("AAPL", "abc")
    with pytest.raises(NotANumberError):
        kit.contracts.notional("AAPL", 1, float("nan"))
    with pytest.raises(ValueError, match="account"):
        kit.contracts.margin("AAPL", account="DU999")
