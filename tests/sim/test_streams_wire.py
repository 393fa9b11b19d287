"""Streams other than plain quotes: books, single trades, real-time bars, and history."""

import itertools
import math
from datetime import UTC, datetime

import ib_async
import pytest

from ibkit.sim.clock import ManualClock
from ibkit.sim.testing import gateway as run_gateway

AAPL = (265598, "", "STK", "", "", "", "", "SMART", "", "", "", "")
EURUSD = (0, "EUR", "CASH", "", "", "", "", "IDEALPRO", "", "USD", "", "")
SPX = (0, "SPX", "IND", "", "", "", "", "CBOE", "", "USD", "", "")
NOON = datetime(2026, 10, 30, 16, 0, 30, tzinfo=UTC).timestamp()  # 12:00:30 in New York
NIGHT = datetime(2026, 10, 31, 7, 0, 0, tzinfo=UTC).timestamp()  # a Saturday


@pytest.fixture
def manual():
    with run_gateway(clock=ManualClock(NOON)) as running:
        yield running


@pytest.fixture
def stepped(manual, connect_to):
    """A raw client of a gateway whose clock stands until it is moved."""
    wire = connect_to(manual).start(9)
    wire.until(4, 2, -1, 2158)
    return wire


def seconds_bars(wire, begin, count, what="TRADES", contract=AAPL):
    """Return the one-second bars that end `count` seconds after `begin`, by their start."""
    end = datetime.fromtimestamp(begin + count, UTC).strftime("%Y%m%d-%H:%M:%S")
    wire.send(20, 900, *contract, 0, end, "1 secs", f"{count} S", 0, what, 2, 0, "")
    frame = wire.until(17, 900)[-1]
    rows = [frame[at : at + 8] for at in range(5, len(frame), 8)]
    return {int(row[0]): [float(value) for value in row[1:]] for row in rows}


def trades_of(frames, req_id):
    return [frame for frame in frames if frame[:2] == ["99", str(req_id)]]


def sync(wire):
    """Return everything that came up to now."""
    wire.send(49, 1)
    return wire.until(49)[:-1]


# --- history agrees with what was streamed --------------------------------------------------------


def test_a_live_seconds_trades_are_the_bars_served_later(manual, stepped):
    stepped.send(97, 5, *AAPL, "Last", 0, 0)
    sync(stepped)
    manual.advance(20)
    streamed = {}
    for frame in until_second(stepped, 5, int(NOON) + 20):
        streamed.setdefault(int(frame[3]), []).append((float(frame[4]), float(frame[5])))

    bars = seconds_bars(stepped, int(NOON) + 1, 19)

    assert len(bars) > 5
    assert {at for at in streamed if at <= int(NOON) + 19} == set(bars)
    for at, (opened, high, low, close, volume, wap, count) in bars.items():
        prices = [price for price, _ in streamed[at]]
        sizes = [size for _, size in streamed[at]]
        assert (prices[0], max(prices), min(prices), prices[-1]) == (opened, high, low, close)
        assert (sum(sizes), len(prices)) == (volume, count)
        money = sum(price * size for price, size in streamed[at])
        assert money / volume == pytest.approx(wap, abs=0.01)


def until_second(wire, req_id, second):
    """Return the trades up to the first one of `second` or later."""
    seen = []
    while True:
        frame = wire.receive()
        if frame[:2] == ["99", str(req_id)]:
            seen.append(frame)
            if int(frame[3]) >= second:
                return seen


def test_the_last_price_on_the_screen_is_the_close_of_its_second(manual, stepped):
    stepped.send(1, 11, 7, *AAPL, 0, "", 0, 0, "")
    shown, traded_at = {}, 0
    for _ in range(8):
        manual.advance(1)
        for frame in sync(stepped):
            if frame[:4] == ["46", "6", "7", "45"]:
                traded_at = int(frame[4])
            if frame[:4] == ["1", "6", "7", "4"]:
                shown[traded_at] = float(frame[4])
    manual.advance(10)
    bars = seconds_bars(stepped, int(NOON) - 30, 40)

    assert len(shown) > 2
    assert shown == {at: bars[at][3] for at in shown}


def test_real_time_bars_are_the_five_second_bars_of_history(manual, stepped):
    stepped.send(50, 3, 5, *AAPL, 5, "TRADES", 0, "")
    sync(stepped)
    manual.advance(31)
    bars = [stepped.until(50, 3, 5)[-1] for _ in range(5)]
    fine = seconds_bars(stepped, int(NOON), 30)

    assert [int(b[3]) - int(a[3]) for a, b in itertools.pairwise(bars)] == [5] * 4
    for bar in bars:
        at = int(bar[3])
        inside = [fine[second] for second in range(at, at + 5) if second in fine]
        assert float(bar[4]) == inside[0][0]
        assert float(bar[5]) == max(row[1] for row in inside)
        assert float(bar[7]) == inside[-1][3]
        assert float(bar[8]) == sum(row[4] for row in inside)


@pytest.mark.parametrize("what", ["MIDPOINT", "BID", "ASK"])
def test_bars_of_quotes_have_no_volume(manual, stepped, what):
    stepped.send(50, 3, 5, *EURUSD, 5, what, 0, "")
    sync(stepped)
    manual.advance(6)

    assert stepped.until(50, 3, 5)[-1][8:] == ["-1", "-1", "-1"]


def test_real_time_bars_go_on_at_night_where_the_market_is_kept_open(connect_to):
    with run_gateway(clock=ManualClock(NIGHT)) as running:
        wire = connect_to(running).start(9)
        wire.send(50, 3, 5, *AAPL, 5, "TRADES", 0, "")
        wire.until(4, 2, -1, 2158)
        sync(wire)
        running.advance(6)

        assert int(wire.until(50, 3, 5)[-1][3]) == NIGHT


@pytest.mark.parametrize(
    ("contract", "size", "what", "code"),
    [
        (AAPL, 10, "TRADES", "321"),
        (AAPL, 5, "NONSENSE", "321"),
        (EURUSD, 5, "TRADES", "420"),
        (SPX, 5, "BID", "420"),
        ((0, "NOSUCH", *AAPL[2:]), 5, "TRADES", "200"),
    ],
)
def test_real_time_bars_that_cannot_be_are_refused(wire, contract, size, what, code):
    wire.send(50, 3, 5, *contract, size, what, 0, "")

    assert wire.until(4, 2, 5)[-1][3] == code


# --- tick by tick -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "number", "length"),
    [("Last", 1, 9), ("AllLast", 2, 9), ("BidAsk", 3, 9), ("MidPoint", 4, 5)],
)
def test_each_kind_of_tick_has_its_own_fields(manual, stepped, kind, number, length):
    stepped.send(97, 5, *AAPL, kind, 0, 0)
    sync(stepped)
    manual.advance(10)
    frame = stepped.until(99, 5)[-1]

    assert (frame[2], len(frame)) == (str(number), length)


def test_unreported_trades_are_in_all_last_only(manual, stepped):
    stepped.send(97, 5, *AAPL, "Last", 0, 0)
    stepped.send(97, 6, *AAPL, "AllLast", 0, 0)
    sync(stepped)
    manual.advance(60)
    plain = until_second(stepped, 5, int(NOON) + 58)
    every = until_second(stepped, 6, int(NOON) + 58)

    assert {frame[6] for frame in plain} == {"0"}
    assert {frame[6] for frame in every} == {"0", "2"}
    assert "   I" in {frame[8] for frame in every}


@pytest.mark.parametrize(
    ("kind", "message"), [("Last", "98"), ("AllLast", "98"), ("BidAsk", "97"), ("MidPoint", "96")]
)
def test_ticks_of_the_past_come_first_when_asked_for(manual, stepped, kind, message):
    stepped.send(97, 5, *AAPL, kind, 20, 0)
    past = stepped.until(message, 5)[-1]
    manual.advance(5)

    assert int(past[2]) >= 20
    assert past[-1] == "1"
    assert int(past[3]) <= NOON
    assert int(stepped.until(99, 5)[-1][3]) > NOON


def test_three_streams_of_single_ticks_are_the_most(wire):
    for number in range(4):
        wire.send(97, number, *AAPL, "Last", 0, 0)

    assert wire.until(4, 2, 3)[-1][3] == "10190"


def test_a_cancelled_stream_is_silent_at_once(manual, stepped):
    stepped.send(97, 5, *AAPL, "Last", 0, 0)
    stepped.send(98, 5)
    stepped.send(98, 5)
    stepped.until(4, 2, 5, 300)
    manual.advance(10)

    assert not trades_of(sync(stepped), 5)


@pytest.mark.parametrize(
    ("contract", "kind", "count", "code"),
    [
        (AAPL, "Nothing", 0, "321"),
        (AAPL, "Last", 1001, "321"),
        (EURUSD, "Last", 0, "10189"),
        (SPX, "BidAsk", 0, "10189"),
    ],
)
def test_streams_that_cannot_be_are_refused(wire, contract, kind, count, code):
    wire.send(97, 5, *contract, kind, count, 0)

    assert wire.until(4, 2, 5)[-1][3] == code


def test_ib_async_gets_single_ticks(ib, wait):
    [apple] = ib.qualifyContracts(ib_async.Stock("AAPL", "SMART", "USD"))
    ticker = ib.reqTickByTickData(apple, "BidAsk", 5)
    wait(ib, lambda: ticker.tickByTicks)

    assert ticker.tickByTicks[0].bidPrice < ticker.tickByTicks[0].askPrice
    ib.cancelTickByTickData(apple, "BidAsk")


def test_ibapi_gets_single_ticks(official):
    from ibapi.contract import Contract

    contract = Contract()
    contract.conId, contract.exchange = 265598, "SMART"
    official.reqTickByTickData(5, contract, "AllLast", 10, ignoreSize=False)

    assert official.expect("historicalTicksLast")[0] == 5
    assert official.expect("tickByTickAllLast")[:2] == (5, 2)


# --- ticks of the past --------------------------------------------------------------------------

END = "20261030-15:00:00"


@pytest.mark.parametrize(
    ("what", "message", "width"), [("TRADES", 98, 6), ("BID_ASK", 97, 6), ("MIDPOINT", 96, 4)]
)
def test_ticks_before_an_end_complete_their_first_second(stepped, what, message, width):
    stepped.send(96, 5, *AAPL, 0, "", END, 100, what, 1, 0, "")
    frame = stepped.until(message, 5)[-1]
    count = int(frame[2])
    times = [int(at) for at in frame[3 : 3 + count * width : width]]

    assert count >= 100
    assert len(frame) == 3 + count * width + 1
    assert times == sorted(times)
    assert times[-1] < datetime(2026, 10, 30, 15, tzinfo=UTC).timestamp()


def test_ticks_after_a_start_follow_on_one_another(stepped):
    stepped.send(96, 5, *AAPL, 0, "20261030-13:30:00", "", 50, "TRADES", 1, 0, "")
    frame = stepped.until(98, 5)[-1]

    assert int(frame[3]) == datetime(2026, 10, 30, 13, 30, tzinfo=UTC).timestamp()
    assert int(frame[2]) >= 50


def test_ticks_of_a_closed_market_are_the_last_ones_before(stepped):
    stepped.send(96, 5, *AAPL, 0, "", "20261026-06:00:00", 10, "TRADES", 1, 0, "")
    frame = stepped.until(98, 5)[-1]

    assert datetime.fromtimestamp(int(frame[-7]), UTC).strftime("%Y%m%d") == "20261023"


@pytest.mark.parametrize(
    ("contract", "start", "end", "count", "what", "code"),
    [
        (AAPL, END, END, 10, "TRADES", "321"),
        (AAPL, "", "", 10, "TRADES", "321"),
        (AAPL, "", END, 0, "TRADES", "321"),
        (AAPL, "", END, 1001, "TRADES", "321"),
        (AAPL, "", END, 10, "BARS", "321"),
        (AAPL, "", "soon", 10, "TRADES", "10314"),
        (EURUSD, "", END, 10, "TRADES", "10187"),
        (SPX, "", END, 10, "BID_ASK", "10187"),
    ],
)
def test_ticks_of_the_past_that_cannot_be_are_refused(
    wire, contract, start, end, count, what, code
):
    wire.send(96, 5, *contract, 0, start, end, count, what, 1, 0, "")

    assert wire.until(4, 2, 5)[-1][3] == code


def test_ib_async_gets_ticks_of_the_past(ib):
    [apple] = ib.qualifyContracts(ib_async.Stock("AAPL", "SMART", "USD"))
    end = datetime(2026, 10, 30, 15, tzinfo=UTC)
    found = ib.reqHistoricalTicks(apple, "", end, 50, "BID_ASK", useRth=True)

    assert len(found) >= 50
    assert all(tick.priceBid < tick.priceAsk for tick in found)


# --- depth --------------------------------------------------------------------------------------


def apply(book, frame):
    """Do to a book what a message says."""
    position, operation, side = (int(frame[n]) for n in (3, 4, 5))
    rows = book.setdefault(side, [])
    if operation == 2:
        del rows[position]
    else:
        row = (float(frame[6]), float(frame[7]))
        if operation == 0:
            rows.insert(position, row)
        else:
            rows[position] = row


def test_a_book_stays_in_order_through_its_changes(manual, stepped):
    stepped.send(10, 5, 5, *AAPL, 5, 0, "")
    book = {}
    for _ in range(10):
        for frame in sync(stepped):
            if frame[:1] == ["12"]:
                apply(book, frame)
                assert 0 <= int(frame[3]) < 5
        asks, bids = ([price for price, _ in book[side]] for side in (0, 1))
        assert (len(asks), len(bids)) == (5, 5)
        assert asks == sorted(set(asks))
        assert bids == sorted(set(bids), reverse=True)
        assert bids[0] < asks[0]
        manual.advance(1)


def test_a_smart_book_names_exchanges_and_says_which_are_in_it(wire):
    wire.send(10, 5, 5, *AAPL, 3, 1, "")
    assert wire.until(4, 2, 5)[-1][3] == "2152"
    frame = wire.until(13, 1, 5)[-1]

    assert (frame[5], frame[9]) == ("0", "1")
    assert frame[4].isupper()


def test_a_book_can_be_reset(gateway, wire):
    from ibkit.sim.handlers import depth

    wire.send(10, 5, 5, *AAPL, 3, 0, "")
    wire.until(12, 1, 5)
    gateway.call(depth.reset, gateway.gateway.clients[9], 5)
    frames = wire.until(4, 2, 5, 317)

    assert frames
    assert wire.until(12, 1, 5)[-1][3:5] == ["0", "0"]


def test_three_books_are_the_most(wire):
    for number in range(4):
        wire.send(10, 5, number, *AAPL, 3, 0, "")

    assert wire.until(4, 2, 3)[-1][3] == "309"


@pytest.mark.parametrize(
    ("request_", "code"),
    [
        ((10, 5, 5, *SPX, 5, 0, ""), "10092"),
        ((10, 5, 5, *AAPL, 0, 0, ""), "321"),
        ((11, 1, 5, 0), "310"),
    ],
)
def test_books_that_cannot_be_are_refused(wire, request_, code):
    wire.send(*request_)

    assert wire.until(4, 2, 5)[-1][3] == code


def test_ib_async_sees_a_book(ib, wait):
    [apple] = ib.qualifyContracts(ib_async.Stock("AAPL", "SMART", "USD"))
    ticker = ib.reqMktDepth(apple, numRows=5, isSmartDepth=True)
    wait(ib, lambda: len(ticker.domBids) == 5 and len(ticker.domAsks) == 5)

    assert ticker.domBids[0].price < ticker.domAsks[0].price
    assert ticker.domBids[0].marketMaker
    ib.cancelMktDepth(apple, isSmartDepth=True)


def test_exchanges_with_books_are_known(ib):
    found = ib.reqMktDepthExchanges()

    assert {"NASDAQ", "LSE", "CME"} <= {one.exchange for one in found}
    assert not [one for one in found if one.exchange == "SMART"]


def test_a_midpoint_lies_between(manual, stepped):
    stepped.send(97, 5, *EURUSD, "MidPoint", 0, 0)
    sync(stepped)
    manual.advance(10)

    assert not math.isnan(float(stepped.until(99, 5)[-1][4]))
