"""Known days of known markets: IB's word over a socket, and the calendars that stand in for it."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

import ibkit
from ibkit import clock
from ibkit.contracts import Contracts
from ibkit.contracts.shelf import Shelf
from ibkit.contracts.timetable import BeyondTimetableError
from ibkit.contracts.venues import HoursOutOfReachError, offline_sessions
from ibkit.errors import NotConnectedError
from ibkit.sim.testing import gateway

HOME = {
    "AAPL": "America/New_York",
    "VOD@LSE:GBP": "Europe/London",
    "700@SEHK:HKD": "Asia/Hong_Kong",
    "FUT:FESX": "Europe/Berlin",
    "FUT:FVS": "Europe/Berlin",
    "CASH:EURUSD": "America/New_York",
    "CRYPTO:BTC": "UTC",
}
# name, trade date, stretches by the exchange's clock; a start of the evening before has a minus
REGULAR = """
AAPL 2025-01-09 closed
AAPL 2025-11-28 0930-1300
AAPL 2025-12-24 0930-1300
AAPL 2025-12-26 0930-1600
AAPL 2026-06-19 closed
AAPL 2026-07-03 closed
AAPL 2026-11-27 0930-1300
AAPL 2026-12-24 0930-1300
AAPL 2027-07-05 closed
AAPL 2027-11-26 0930-1300
AAPL 2027-12-24 closed
VOD@LSE:GBP 2025-12-24 0800-1230
VOD@LSE:GBP 2025-12-26 closed
VOD@LSE:GBP 2025-12-31 0800-1230
VOD@LSE:GBP 2026-05-04 closed
VOD@LSE:GBP 2026-12-28 closed
VOD@LSE:GBP 2027-12-24 0800-1230
VOD@LSE:GBP 2027-12-28 closed
700@SEHK:HKD 2025-01-27 0930-1200 1300-1600
700@SEHK:HKD 2025-01-28 0930-1200
700@SEHK:HKD 2025-01-29 closed
700@SEHK:HKD 2025-12-24 0930-1200
700@SEHK:HKD 2025-12-31 0930-1200
700@SEHK:HKD 2026-02-16 0930-1200
700@SEHK:HKD 2026-02-17 closed
FUT:FESX 2025-12-24 closed
FUT:FESX 2025-12-31 closed
FUT:FESX 2025-12-30 0800-1900
""".strip().splitlines()
FULL = """
AAPL 2025-11-28 0400-1700
AAPL 2025-11-26 0400-2000
FUT:FESX 2026-01-15 0110-2200
FUT:FESX 2026-07-15 0210-2200
FUT:FVS 2026-01-15 0750-2200
FUT:VX 2025-11-25 -1700-1600
FUT:VX 2025-11-28 -1700-1215
FUT:ES 2025-11-24 -1700-1600
FUT:ES 2025-11-25 -1700-1600
FUT:ZC 2025-11-25 -1900-0745 0830-1320
FUT:ZC 2025-11-28 0830-1205
FUT:ES 2025-01-09 -1700-0830
FUT:NQ 2025-01-09 -1700-0830
FUT:ZN 2025-01-09 -1700-1215
FUT:SR3 2025-01-09 -1700-1215
FUT:ZC 2025-01-09 -1900-0745 0830-1215
FUT:LE 2025-01-09 0830-1215
FUT:CL 2025-01-09 -1700-1600
FUT:GC 2025-01-09 -1700-1600
FUT:6E 2025-01-09 -1700-1600
FUT:BTC 2025-01-09 -1700-1600
FUT:ES 2025-04-18 closed
FUT:ZN 2025-04-18 closed
FUT:6E 2025-04-18 closed
FUT:GC 2025-04-18 closed
FUT:ZC 2025-04-18 closed
FUT:ES 2026-04-03 -1700-0815
FUT:ZN 2026-04-03 -1700-1015
FUT:6E 2026-04-03 -1700-1015
FUT:CL 2026-04-03 closed
FUT:ZC 2026-04-03 closed
FUT:ES 2026-07-03 -1700-1200
FUT:GC 2026-07-03 -1700-1200
FUT:ES 2025-11-27 -1700-1200
FUT:GC 2025-11-27 -1700-1330
FUT:ZC 2025-11-27 closed
FUT:ES 2025-12-24 -1700-1215
FUT:GC 2025-12-24 -1700-1245
FUT:ZC 2025-12-24 -1900-0745 0830-1205
FUT:LE 2025-12-24 0830-1205
FUT:ES 2025-12-25 closed
CASH:EURUSD 2025-11-24 -1715-1700
CASH:EURUSD 2025-11-22 closed
CASH:EURUSD 2025-12-25 closed
CRYPTO:BTC 2025-12-25 0000-0000
CRYPTO:BTC 2025-11-22 0000-0000
""".strip().splitlines()
CELLS = [(*line.split(maxsplit=2), True) for line in REGULAR]
CELLS += [(*line.split(maxsplit=2), False) for line in FULL]


@pytest.fixture(scope="module")
def kit(tmp_path_factory):
    with (
        gateway() as running,
        ibkit.connect(port=running.port, root=tmp_path_factory.mktemp("root")) as one,
    ):
        yield one


def told(sessions, name, day):
    """Return stretches as the cells write them."""
    home = ZoneInfo(HOME.get(name, "America/Chicago"))
    found = [(each.start.astimezone(home), each.end.astimezone(home)) for each in sessions]
    words = [f"{'-' * (start.date() < day)}{start:%H%M}-{end:%H%M}" for start, end in found]
    return " ".join(words) or "closed"


@pytest.mark.parametrize(("name", "day", "expected", "use_rth"), CELLS)
def test_the_kit_knows_the_day(kit, name, day, expected, use_rth):
    day = date.fromisoformat(day)

    found = kit.contracts.sessions(name, day, day, use_rth=use_rth, breaks=True)

    assert told(found, name, day) == expected
    if day < clock.now().date():
        assert {each.source for each in found} <= {"IB"}


@pytest.mark.parametrize(("name", "day", "expected", "use_rth"), CELLS)
def test_without_ib_the_same_is_known(kit, name, day, expected, use_rth):
    day = date.fromisoformat(day)

    found = offline_sessions(kit.contract(name), day, day, use_rth=use_rth)

    assert told(found, name, day) == expected


# New York changes its clock on 8 March and 1 November 2026, Europe on 29 March and 25 October;
# Hong Kong never does. In UTC:
CLOCKS = """
AAPL 2026-03-06 14:30-21:00
AAPL 2026-03-09 13:30-20:00
AAPL 2026-10-30 13:30-20:00
AAPL 2026-11-02 14:30-21:00
VOD@LSE:GBP 2026-03-16 08:00-16:30
VOD@LSE:GBP 2026-03-30 07:00-15:30
VOD@LSE:GBP 2026-10-26 08:00-16:30
FUT:FESX 2026-03-16 00:10-21:00
FUT:FESX 2026-03-30 00:10-20:00
FUT:FESX 2026-10-26 00:10-21:00
FUT:ES 2026-03-06 23:00-22:00
FUT:ES 2026-03-09 22:00-21:00
FUT:ES 2026-10-30 22:00-21:00
FUT:ES 2026-11-02 23:00-22:00
CASH:EURUSD 2026-03-09 21:15-21:00
CASH:EURUSD 2026-10-30 21:15-21:00
CASH:EURUSD 2026-11-02 22:15-22:00
700@SEHK:HKD 2026-03-16 01:30-08:00
700@SEHK:HKD 2026-11-02 01:30-08:00
CRYPTO:BTC 2026-03-08 00:00-00:00
""".strip().splitlines()


@pytest.mark.parametrize("line", CLOCKS)
def test_clocks_change_on_their_own_days(kit, line):
    name, day, expected = line.split()
    day = date.fromisoformat(day)
    use_rth = not name.startswith(("FUT", "CASH"))

    [found] = kit.contracts.sessions(name, day, day, use_rth=use_rth)

    assert f"{found.start:%H:%M}-{found.end:%H:%M}" == expected
    [first, *more] = offline_sessions(kit.contract(name), day, day, use_rth=use_rth)
    assert (first.start, [first, *more][-1].end) == (found.start, found.end)


def test_the_day_of_a_clock_change_has_the_minutes_it_has(kit):
    start, end = datetime(2026, 3, 6, tzinfo=UTC), datetime(2026, 3, 10, tzinfo=UTC)

    # Friday from midnight UTC and Monday's session from Sunday evening on
    assert kit.contracts.minutes_open("FUT:ES", start, end, use_rth=False) == (
        22 * 60 + 23 * 60 + 2 * 60
    )
    assert kit.contracts.minutes_open("CRYPTO:BTC", start, end) == 4 * 1440


@pytest.mark.parametrize(
    "line",
    [
        "FUT:ES 2025-11-23T22:59 2025-11-23T23:00",
        "FUT:ES 2025-11-24T22:01 2025-11-24T23:00",
        "FUT:ES 2025-04-17T21:00 2025-04-20T22:00",
        "FUT:ZC 2025-11-25T13:50 2025-11-25T14:30",
        "FUT:ZC 2025-11-26T20:00 2025-11-28T14:30",
        "CASH:EURUSD 2025-11-21T22:00 2025-11-23T22:15",
        "700@SEHK:HKD 2025-11-24T04:30 2025-11-24T05:00",
        "700@SEHK:HKD 2025-12-24T04:30 2025-12-29T01:30",
    ],
)
def test_the_next_opening(kit, line):
    name, *moments = line.split()
    at, expected = (datetime.fromisoformat(each).replace(tzinfo=UTC) for each in moments)

    assert not kit.contracts.is_open(name, at, use_rth=False)
    assert kit.contracts.next_open(name, at, use_rth=False) == expected


def test_days_that_nobody_knows_yet_are_no_closed_days(kit):
    for name in ("AAPL", "CASH:EURUSD", "CRYPTO:BTC"):
        with pytest.raises(BeyondTimetableError, match="not at 2070"):
            kit.contracts.sessions(name, "2070-01-01", "2070-01-31")
        with pytest.raises(BeyondTimetableError):
            kit.contracts.is_open(name, datetime(2070, 1, 2, 15, tzinfo=UTC))
        with pytest.raises(BeyondTimetableError):
            kit.contracts.minutes_open(
                name, datetime(2025, 1, 2, tzinfo=UTC), datetime(2070, 1, 2, tzinfo=UTC)
            )
    with pytest.raises(HoursOutOfReachError, match="2049"):
        offline_sessions(kit.contract("AAPL"), date(2055, 1, 1), date(2055, 1, 2))


def test_a_span_that_ends_before_it_starts_is_refused(kit):
    with pytest.raises(ValueError, match="before the start"):
        kit.contracts.sessions("AAPL", "2026-01-05", "2026-01-02")


# --- what is kept --------------------------------------------------------------------------------


@pytest.fixture
def asked(kit, monkeypatch):
    """Count the schedules that are asked for."""
    names = []
    request = kit.link.request

    async def counted(name, *args, **kwargs):
        names.extend([name] if name == "schedule" else [])
        return await request(name, *args, **kwargs)

    monkeypatch.setattr(kit.link, "request", counted)
    return names


def test_a_span_that_grows_asks_for_what_is_new(kit, tmp_path, asked):
    mine = Contracts(kit.link, cache=tmp_path)
    mine.sessions("AAPL", "2025-03-03", "2025-03-31")
    mine.sessions("AAPL", "2025-03-03", "2025-03-31")
    assert len(asked) == 1

    longer = mine.sessions("AAPL", "2025-02-03", "2025-04-30")

    assert len(asked) == 2
    assert longer == Contracts(kit.link).sessions("AAPL", "2025-02-03", "2025-04-30")


def test_what_another_process_has_asked_meanwhile_is_not_asked_again(kit, tmp_path, asked):
    """Two objects on one folder are what two processes are."""
    mine, theirs = (Contracts(kit.link, cache=tmp_path) for _ in range(2))
    mine.sessions("AAPL", "2025-03-03", "2025-03-31")
    theirs.sessions("AAPL", "2024-03-04", "2024-03-29")
    assert len(asked) == 2

    mine.sessions("AAPL", "2024-03-04", "2024-03-29")

    assert len(asked) == 2


def test_a_damaged_file_is_asked_for_again_and_healed(kit, tmp_path, asked):
    sound = Contracts(kit.link, cache=tmp_path).sessions("AAPL", "2025-03-03", "2025-03-31")
    [path] = (tmp_path / "schedules").glob("*.parquet")
    middle = len(path.read_bytes()) // 3
    whole = bytearray(path.read_bytes())
    whole[middle] ^= 0xFF
    path.write_bytes(whole)

    again = Contracts(kit.link, cache=tmp_path).sessions("AAPL", "2025-03-03", "2025-03-31")
    healed = Contracts(kit.link, cache=tmp_path).sessions("AAPL", "2025-03-03", "2025-03-31")

    assert sound == again == healed
    assert len(asked) == 2


def test_only_days_that_are_over_are_kept(kit, tmp_path):
    """What is kept is kept for good, so a sudden close of today would never be seen."""
    today = clock.now().date()
    Contracts(kit.link, cache=tmp_path).sessions("AAPL", today - timedelta(days=5), today)

    shelf = Shelf(tmp_path / "schedules")
    [market] = shelf.markets()
    kept = shelf.read(market).asked

    assert max(kept) < clock.now().date()
    assert today - timedelta(days=2) in kept


def test_offline_what_is_kept_comes_first_and_a_calendar_after_it(kit, tmp_path, monkeypatch):
    mine = Contracts(kit.link, cache=tmp_path)
    mine.sessions("AAPL", "2025-03-03", "2025-03-31")
    offline = Contracts(kit.link, cache=tmp_path)
    offline.contract("AAPL")

    async def refuse(name, *_, **__):
        raise NotConnectedError("reconnecting", name)

    monkeypatch.setattr(kit.link, "request", refuse)

    found = offline.sessions("AAPL", "2025-03-03", "2025-04-04")

    assert {each.source for each in found if each.ref_date.month == 3} == {"IB"}
    assert {each.source for each in found if each.ref_date.month == 4} == {"exchange_calendars"}
