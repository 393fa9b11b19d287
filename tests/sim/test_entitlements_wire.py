"""What a client sees of prices not paid for, of old ones, and of a market that sleeps."""

from datetime import UTC, datetime

import pytest

from ibkit.sim.clock import ManualClock
from ibkit.sim.entitlements import Entitlements
from ibkit.sim.testing import gateway as run_gateway

AAPL = (265598, "", "STK", "", "", "", "", "SMART", "", "", "", "")
NOON = datetime(2026, 10, 30, 16, 0, 30, tzinfo=UTC).timestamp()
NIGHT = datetime(2026, 10, 31, 7, 0, 0, tzinfo=UTC).timestamp()  # a Saturday
DELAYED = {"66", "67", "68", "69", "70", "71", "72", "73", "74", "75", "76", "88"}


@pytest.fixture
def start(connect_to):
    running = []

    def run(level, **options):
        options = {"clock": ManualClock(NOON), **options}
        context = run_gateway(entitlements={"AAPL": level}, **options)
        running.append((context, context.__enter__()))
        wire = connect_to(running[-1][1]).start(9)
        wire.until(4, 2, -1, 2158)
        return running[-1][1], wire

    yield run
    for context, _ in running:
        context.__exit__(None, None, None)


def line(wire, req_id=7, data_type=1, generic=""):
    wire.send(59, 1, data_type)
    wire.send(1, 11, req_id, *AAPL, 0, generic, 0, 0, "")
    return sync(wire)


def sync(wire):
    wire.send(49, 1)
    return wire.until(49)[:-1]


def kinds(frames):
    return {frame[3] for frame in frames if frame[0] in {"1", "2", "46"}}


def codes(frames):
    return [frame[3] for frame in frames if frame[0] == "4"]


@pytest.mark.parametrize(
    ("level", "code"), [("delayed", "354"), ("api", "10089"), ("none", "10168")]
)
def test_what_is_not_paid_for_is_refused_and_the_line_is_dead(start, level, code):
    _, wire = start(level)
    frames = line(wire)
    wire.send(2, 2, 7)

    assert [frame[0] for frame in frames] == ["81", "4"]
    assert codes(frames) == [code]
    assert wire.until(4, 2, 7)[-1][3] == "300"


def test_delayed_data_come_under_numbers_of_their_own(start):
    running, wire = start("delayed")
    frames = line(wire, data_type=3)
    running.advance(3)
    later = sync(wire)

    assert [frame[0] for frame in frames[:3]] == ["58", "4", "81"]
    assert frames[0][3] == "3"
    assert codes(frames) == ["10167"]
    assert frames[2][3:] == ["", "0"]
    assert kinds(frames) == DELAYED
    assert kinds(later) <= DELAYED
    [at] = [int(frame[4]) for frame in frames if frame[:4] == ["46", "6", "7", "88"]]
    assert at <= NOON - 900


def test_an_entitled_client_gets_live_data_whatever_it_asks_for(start):
    _, wire = start("live")
    frames = line(wire, data_type=3)

    assert frames[0] == ["58", "1", "7", "1"]
    assert not kinds(frames) & DELAYED


def test_part_of_the_data_is_what_needs_no_subscription(start):
    running, wire = start("partly")
    frames = line(wire, generic="236")
    running.advance(3)

    assert codes(frames) == ["10090"]
    assert kinds(frames) == {"89"}
    assert not kinds(sync(wire))


def test_a_competing_session_silences_a_line_until_it_ends(start):
    running, wire = start("live")
    line(wire)
    running.call(running.gateway.entitlements.rules.update, {"AAPL": "competing"})
    running.advance(3)
    during = sync(wire)
    running.advance(3)
    silence = sync(wire)
    running.call(running.gateway.entitlements.rules.update, {"AAPL": "live"})
    running.advance(3)
    after = sync(wire)

    assert codes(during) == ["10197"]
    assert silence == []
    assert after[0] == ["58", "1", "7", "1"]
    assert {"1", "2"} <= kinds(after)


def test_changing_the_kind_of_data_changes_open_lines(start):
    _, wire = start("delayed")
    line(wire, data_type=3)
    wire.send(59, 1, 99)
    assert sync(wire) == []


def test_a_frozen_line_shows_the_last_quote_of_the_session_and_stands_still(start):
    running, wire = start("live", clock=ManualClock(NIGHT), always_open=False)
    plain = line(wire, 6)
    frozen = line(wire, 7, data_type=2)
    running.advance(10)

    assert not kinds(plain) & {"1", "2"}  # nobody quotes at night
    assert frozen[-1] != plain[-1]
    assert ["58", "1", "7", "2"] in frozen
    assert {"1", "2"} <= kinds([frame for frame in frozen if frame[2] == "7"])
    assert not kinds(sync(wire))


def test_delayed_and_frozen_is_a_kind_of_its_own(start):
    _, wire = start("delayed", clock=ManualClock(NIGHT), always_open=False)
    frames = line(wire, data_type=4)

    assert frames[0] == ["58", "1", "7", "4"]
    assert {"66", "67"} <= kinds(frames)


def test_a_stock_says_that_it_is_not_halted(start):
    _, wire = start("live")

    assert ["45", "6", "7", "49", "0"] in line(wire)


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ((20, 5, *AAPL, 0, "", "1 min", "1 D", 1, "TRADES", 2, 0, ""), "162"),
        ((50, 3, 5, *AAPL, 5, "TRADES", 0, ""), "10089"),
        ((97, 5, *AAPL, "Last", 0, 0), "10189"),
        ((10, 5, 5, *AAPL, 5, 0, ""), "354"),
        ((96, 5, *AAPL, 0, "", "20261030-15:00:00", 10, "TRADES", 1, 0, ""), "162"),
    ],
)
def test_other_data_need_the_subscription_too(start, asked, code):
    _, wire = start("delayed")
    wire.send(*asked)

    assert wire.until(4, 2, 5)[-1][3] == code


GENERIC = {
    "100": {"29", "30"},
    "101": {"27", "28"},
    "104": {"23"},
    "105": {"87"},
    "106": {"24"},
    "165": {"15", "16", "17", "18", "19", "20", "21"},
    "221": {"37"},
    "225": {"34", "35", "36", "61"},
    "233": {"48"},
    "236": {"46", "89"},
    "258": {"47"},
    "293": {"54"},
    "294": {"55"},
    "295": {"56"},
    "318": {"57"},
    "375": {"77"},
    "411": {"58"},
    "456": {"59"},
    "595": {"63", "64", "65"},
    "619": {"79"},
}


@pytest.fixture(scope="module")
def generic_gateway():
    with run_gateway(clock=ManualClock(NOON)) as running:
        yield running


@pytest.mark.parametrize(("number", "wanted"), GENERIC.items())
def test_a_generic_tick_brings_its_ticks(generic_gateway, connect_to, number, wanted):
    wire = connect_to(generic_gateway).start(int(number))
    frames = line(wire, generic=number)
    plain = line(wire, 8)

    found = {(frame[0], frame[3]) for frame in frames if frame[0] in {"1", "2", "45", "46"}}
    usual = {(frame[0], frame[3]) for frame in plain if frame[0] in {"1", "2", "45", "46"}}
    assert {kind for _, kind in found - usual} == wanted


def test_rules_go_from_the_special_to_the_general():
    apple = type("Apple", (), {"symbol": "AAPL", "primary_exchange": "NASDAQ", "sec_type": "STK"})
    rules = {"*": "none", "STK": "delayed", "AAPL": "api", "AAPL@NASDAQ": "competing"}

    seen = []
    for name in ("AAPL@NASDAQ", "AAPL", "STK", "*"):
        seen.append(Entitlements(dict(rules)).level(apple))
        del rules[name]
    assert seen == ["competing", "api", "delayed", "none"]


def test_an_unknown_level_is_refused():
    with pytest.raises(ValueError, match="none of live"):
        Entitlements({"AAPL": "maybe"})
