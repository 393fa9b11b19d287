"""Bars read from the wire are those of ib_async's objects, byte for byte, or a typed error."""

import asyncio
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pyarrow as pa
from hypothesis import example, given, settings
from hypothesis import strategies as st
from ib_async import IB, Stock

from ibkit.connection import taps
from ibkit.contracts.hours import Session
from ibkit.errors import UnreadableAnswerError
from ibkit.history import decode, wire
from ibkit.history.decode import UnknownSessionError
from ibkit.schema import bar_size
from ibkit.sim.wire import SERVER_VERSION, pack

APPLE = Stock("AAPL", "SMART", "USD", conId=265598)
NEW_YORK = ZoneInfo("America/New_York")
MIN = bar_size("1 min")
LONG = [bar_size(text) for text in ("1 day", "1 week", "1 month")]
# over the end of daylight saving time, with a holiday left out
SESSIONS = tuple(
    Session(
        datetime(day.year, day.month, day.day, 9, 30, tzinfo=NEW_YORK).astimezone(UTC),
        datetime(day.year, day.month, day.day, 16, tzinfo=NEW_YORK).astimezone(UTC),
        day,
    )
    for day in (date(2026, 10, 5) + timedelta(days=n) for n in range(60))
    if day.weekday() < 5 and day != date(2026, 11, 26)
)

# --- what a gateway may write ---------------------------------------------------------------------

PLAIN = st.decimals(-(10**7), 10**7, places=4).map(str) | st.integers(0, 10**13).map(str)
ODD = st.sampled_from(
    (
        *("-1", "-1.0", "-1.00", "0", "-0", "0.1", ".5", "7.", "00012.50", "0.30000000000000004"),
        *("1.7976931348623157E308", "1.7976931348623157e+308", "2.5E7", "1e-3", "9007199254740993"),
        *("nan", "NaN", "-nan", "inf", "Infinity", "-inf", "+5", " 7 ", "1_000", "٣"),
    )
)
NUMBER = st.one_of(PLAIN, st.just("-1"), ODD)
COUNT = st.one_of(st.integers(-1, 2**31 - 1).map(str), st.sampled_from(("-1", "+5", " 7", "1_0")))
EPOCH = st.integers(1_793_000_000, 1_793_000_300).map(str) | st.integers(10**8, 10**11).map(str)
# the hour of the first of November that comes twice, and other spellings of an instant
ZONED = st.builds(
    "20261101 {:02}:{:02}:00 {}".format,
    st.integers(0, 3),
    st.integers(0, 59),
    st.sampled_from(("US/Eastern", "UTC", "MET", "Japan")),
)
DATED = st.dates(date(2026, 9, 28), date(2026, 12, 10)).map("{:%Y%m%d}".format)
TRADED = st.sampled_from(SESSIONS).map(lambda session: f"{session.ref_date:%Y%m%d}")
WRONG = st.one_of(
    st.text("0123456789.-+exXnaN_ ٣", max_size=12),
    st.sampled_from(("", "5.5", "5.0", "1793000000.5", "253402300800", "2147483648", "20261399")),
    PLAIN,
    TRADED,
)


@st.composite
def messages(draw, stamps):
    """Return bars whose numbers are all plain, or of any spelling: they are read in two ways."""
    number = draw(st.sampled_from((PLAIN | st.just("-1"), NUMBER)))
    count = COUNT if number is NUMBER else st.integers(-1, 2**31 - 1).map(str)
    return draw(st.lists(st.tuples(stamps, *(number for _ in range(6)), count), max_size=12))


@st.composite
def broken(draw, bars):
    """Return a message with something wrong in it, if not always."""
    fields = [text for bar in draw(bars) for text in bar]
    n = str(len(fields) // 8)
    kind = draw(st.sampled_from(("text", "stamp", "count", "cut", "longer", "number")))
    if kind in {"text", "stamp", "count"} and fields:
        at = draw(st.integers(0, len(fields) - 1))
        at += {"text": 0, "stamp": -at % 8, "count": 7 - at % 8}[kind]
        fields[at % len(fields)] = draw(WRONG)
    elif kind == "cut" and fields:
        del fields[draw(st.integers(0, len(fields) - 1)) :]
    elif kind == "longer":
        fields.append("0")
    elif kind == "number":
        n = draw(st.sampled_from(("", "x", "1", "2", "1.0")))
    return n, fields


# --- both ways ------------------------------------------------------------------------------------


def both_ways(message, size, sessions, cut=7):
    """Return what the wire gives, and what objects give, for one message sent to both."""
    slow, answer = asyncio.run(receive(message, cut))
    return outcome(lambda: wire.to_table(answer, size, sessions)), outcome(
        lambda: decode.to_table(decode.of_sessions(done(slow), size, sessions), size, sessions)
    )


async def receive(message, cut):
    """Send a message twice through one client: to a request of ib_async's, and to one of ours."""
    ib = IB()
    ib.client._serverVersion, ib.client.connState = SERVER_VERSION, ib.client.CONNECTED
    ib.client._apiReady = True
    wanted = (APPLE, "", "1 D", "1 min", "TRADES", True)
    slow = asyncio.ensure_future(ib.reqHistoricalDataAsync(*wanted, formatDate=2, timeout=0))
    fast = asyncio.ensure_future(taps.bars(ib, *wanted))
    await asyncio.sleep(0)
    n, fields = message
    head = ("20261001 00:00:00 US/Eastern", "20261002 00:00:00 US/Eastern", n)
    data = b"".join(pack(["17", str(number), *head, *fields]) for number in (0, 1))
    for at in range(0, len(data), cut):
        ib.client._onSocketHasData(data[at : at + cut])
    answer = await fast
    assert not {*ib.wrapper._results} - {0}
    slow.cancel() if 0 in ib.wrapper._futures else await slow
    with suppress(asyncio.CancelledError):
        await slow
    return slow, answer


def done(slow):
    if slow.cancelled():
        raise ValueError("ib_async could not read it, and says so in its log only")
    return slow.result()


def outcome(work):
    """Return a table as bytes, or what kind of error there is instead."""
    try:
        table = work()
    except UnknownSessionError as error:
        return error.day, error.bar_size
    except (UnreadableAnswerError, ValueError, TypeError, pa.ArrowInvalid):
        return "unreadable"
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def whole(bars):
    return str(len(bars)), [text for bar in bars for text in bar]


CASES = settings(max_examples=100, deadline=None)


@CASES
@given(messages(EPOCH | ZONED), st.integers(1, 200))
@example([], 7)
def test_bars_of_a_session_are_the_same_bytes(bars, cut):
    fast, slow = both_ways(whole(bars), MIN, (), cut)

    assert fast == slow
    assert fast != "unreadable"


@CASES
@given(messages(TRADED), st.sampled_from(LONG))
@example([], LONG[0])
def test_bars_of_days_and_longer_are_the_same_bytes(bars, size):
    fast, slow = both_ways(whole(bars), size, SESSIONS, 100)

    assert fast == slow
    assert isinstance(fast, bytes)


@CASES
@given(messages(DATED), st.sampled_from(LONG))
def test_a_day_that_no_session_has_is_the_same_error(bars, size):
    fast, slow = both_ways(whole(bars), size, SESSIONS, 100)

    assert fast == slow


@CASES
@given(broken(messages(EPOCH | ZONED)) | broken(messages(TRADED)), st.sampled_from([MIN, *LONG]))
@example(("0", ["1"]), MIN)
@example(("1", ["20261103", "1", "1", "1", "1", "1", "1", "1"]), MIN)
@example(("1", ["1793000000", "1", "1", "1", "1", "1", "1", "5.5"]), MIN)
@example(("1", ["1793000000", "nan", "1", "1", "1", "1", "1", "5.0"]), MIN)
@example(("1", ["253402300800", "1", "1", "1", "1", "1", "1", "1"]), MIN)
@example(("1", ["1793000000", "1", "1", "1", "1", "1", "1", "5.0"]), MIN)
@example(("1", ["1793000000.5", "1", "1", "1", "1", "1", "1", "1"]), MIN)
def test_whatever_comes_is_the_same_table_or_a_typed_error(message, size):
    fast, slow = both_ways(message, size, SESSIONS, 100)

    assert fast == slow
