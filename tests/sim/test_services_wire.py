"""News, scanner, corporate events, groups, advisors, option arithmetic: the smaller services."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from xml.etree import ElementTree as ET

import ib_async
import pytest

from ibkit.sim import wsh
from ibkit.sim.clock import ManualClock
from ibkit.sim.newsroom import Newsroom, Story
from ibkit.sim.scanners import SCANS
from ibkit.sim.testing import gateway as run_gateway
from ibkit.sim.universe import Universe

AAPL = (265598, "", "STK", "", "", "", "", "SMART", "", "", "", "")
NOON = datetime(2026, 10, 30, 16, 0, 30, tzinfo=UTC).timestamp()


@pytest.fixture
def manual():
    with run_gateway(clock=ManualClock(NOON)) as running:
        yield running


@pytest.fixture
def stepped(manual, connect_to):
    wire = connect_to(manual).start(9)
    wire.until(4, 2, -1, 2158)
    return wire


# --- news ---------------------------------------------------------------------------------------


def test_headlines_come_newest_first_and_say_whether_there_are_more(stepped):
    start, end = "2026-10-01 00:00:00.0", "2026-10-30 00:00:00.0"
    stepped.send(86, 5, 265598, "BRFG+DJ-N+DJNL", start, end, 5, "")
    *headlines, last = stepped.until(87, 5)
    times = [frame[2] for frame in headlines]

    assert len(headlines) == 5
    assert last == ["87", "5", "1"]
    assert times == sorted(times, reverse=True)
    assert {frame[3] for frame in headlines} <= {"BRFG", "DJ-N", "DJNL"}


def test_an_article_is_the_one_behind_its_headline(stepped):
    stepped.send(86, 5, 265598, "BRFG", "", "", 1, "")
    headline = stepped.until(86, 5)[-1]
    stepped.send(84, 6, headline[3], headline[4], "")
    article = stepped.until(83, 6)[-1]

    assert headline[5] in article[3]
    assert "made up" in article[3]


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ((84, 5, "BRFG", "BRFG$0.0.0", ""), "10172"),
        ((84, 5, "BRFG", "nonsense", ""), "10172"),
        ((86, 5, 265598, "NOBODY", "", "", 5, ""), "10174"),
        ((86, 5, 1, "BRFG", "", "", 5, ""), "200"),
        ((86, 5, 265598, "BRFG", "soon", "", 5, ""), "321"),
        ((86, 5, 265598, "BRFG", "", "", 0, ""), "321"),
    ],
)
def test_news_that_nobody_has_are_refused(wire, asked, code):
    wire.send(*asked)

    assert wire.until(4, 2, 5)[-1][3] == code


def test_a_headline_reaches_the_line_that_asked_for_news(manual, stepped):
    stepped.send(1, 11, 7, *AAPL, 0, "mdoff,292:BRFG", 0, 0, "")
    stepped.until(81, 7)
    story = Story(NOON + 3, "BRFG", "BRFG$test", "Simulated news")
    manual.call(manual.gateway.newsroom.publish, 265598, story)
    manual.advance(10)

    assert stepped.until(84, 7)[-1][2:6] == [str(int(NOON + 3) * 1000), *story[1:]]


def test_bulletins_reach_those_who_asked(manual, stepped, connect_to):
    manual.call(manual.gateway.newsroom.announce, "NYSE is back", kind=3, exchange="NYSE")
    stepped.send(12, 1, 1)
    assert stepped.until(14)[-1] == ["14", "1", "1", "3", "NYSE is back", "NYSE"]
    later = connect_to(manual).start(10)
    later.send(12, 1, 0)
    later.send(49, 1)
    assert "14" not in {frame[0] for frame in later.until(49)}
    manual.call(manual.gateway.newsroom.announce, "Early close")
    manual.advance(3)

    assert later.until(14)[-1][2] == "2"
    assert stepped.until(14)[-1][2] == "2"


def test_ib_async_reads_news(ib):
    assert "BRFG" in {one.code for one in ib.reqNewsProviders()}
    found = ib.reqHistoricalNews(265598, "BRFG+DJ-N", "", "", 3)
    article = ib.reqNewsArticle(found[0].providerCode, found[0].articleId)

    assert len(found) == 3
    assert article.articleText


def test_news_do_not_depend_on_when_they_are_asked_for():
    apple = Universe.load().by_con_id(265598)
    one, other = Newsroom(1), Newsroom(1)
    every = frozenset({"BRFG", "BRFUPDN", "DJ-N", "DJ-RTA", "DJNL"})

    whole = one.stories(apple, NOON - 20 * 86400, NOON, every)
    half = other.stories(apple, NOON - 20 * 86400, NOON - 10 * 86400, every)
    rest = other.stories(apple, NOON - 10 * 86400, NOON, every)

    assert whole == half + rest
    assert len(whole) > 10
    assert whole != Newsroom(2).stories(apple, NOON - 20 * 86400, NOON, every)


# --- scanner ------------------------------------------------------------------------------------


def scan(code, *, rows=10, location="STK.US.MAJOR", options="", price=""):
    middle = [""] * 14
    return (
        22,
        5,
        rows,
        "STK",
        location,
        code,
        price,
        "",
        *middle[:11],
        0,
        "",
        "",
        "ALL",
        options,
        "",
    )


def test_the_description_of_the_scanner_is_xml_with_every_scan(wire):
    wire.send(24, 1)
    tree = ET.fromstring(wire.until(19)[-1][2])

    assert {node.text for node in tree.iter("scanCode")} == set(SCANS)


@pytest.mark.parametrize("code", sorted(SCANS))
def test_every_scan_has_rows_in_order(stepped, code):
    stepped.send(*scan(code))
    frame = stepped.until(20, 3, 5)[-1]
    ranks = frame[4::16]

    assert frame[3] == "10"
    assert ranks[:10] == [str(n) for n in range(10)]


def test_gainers_gain_more_the_higher_they_rank(ib):
    rows = ib.reqScannerData(
        ib_async.ScannerSubscription(
            numberOfRows=5, instrument="STK", locationCode="STK.US.MAJOR", scanCode="TOP_PERC_GAIN"
        )
    )
    tickers = ib.reqTickers(*(row.contractDetails.contract for row in rows))
    moves = [ticker.last / ticker.close - 1 for ticker in tickers]

    assert [row.rank for row in rows] == list(range(5))
    assert moves == pytest.approx(sorted(moves, reverse=True), abs=0.002)


def test_filters_leave_out(stepped):
    stepped.send(*scan("MOST_ACTIVE", rows=50, price="500", options="changePercAbove=-99;"))
    dear = int(stepped.until(20, 3, 5)[-1][3])
    stepped.send(23, 1, 5)
    stepped.send(*scan("MOST_ACTIVE", rows=50))
    every = int(stepped.until(20, 3, 5)[-1][3])

    assert 0 < dear < every


def test_a_scan_is_sent_again_until_cancelled(manual, stepped):
    stepped.send(*scan("MOST_ACTIVE"))
    stepped.until(20, 3, 5)
    manual.advance(40)
    stepped.until(20, 3, 5)
    stepped.send(23, 1, 5)

    assert "cancelled: 5" in stepped.until(4, 2, 5, 162)[-1][4]


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        (scan("NO_SUCH_SCAN"), "162"),
        (scan("MOST_ACTIVE", location="MOON"), "162"),
        (scan("MOST_ACTIVE", options="noSuchFilter=1"), "321"),
        (scan("MOST_ACTIVE", options="priceAbove=much"), "321"),
        ((23, 1, 5), "365"),
    ],
)
def test_scans_that_cannot_be_are_refused(wire, asked, code):
    wire.send(*asked)

    assert wire.until(4, 2, 5)[-1][3] == code


# --- corporate events ---------------------------------------------------------------------------


def events_of(
    wire, *, con_id=2147483647, text="", first="", last="", limit=2147483647, fills=(0, 0, 0)
):
    wire.send(102, 6, con_id, text, *fills, first, last, limit)


def test_events_need_the_metadata_first(wire):
    events_of(wire, con_id=265598)
    assert wire.until(4, 2, 6)[-1][3] == "10282"
    wire.send(100, 5)
    kinds = json.loads(wire.until(104, 5)[-1][2])["meta_data"]["event_types"]
    events_of(wire, con_id=265598)
    found = json.loads(wire.until(105, 6)[-1][2])

    assert {"wshe_ed", "wshe_div"} <= {kind["tag"] for kind in kinds}
    assert {event["event_type"] for event in found} <= {kind["tag"] for kind in kinds}
    assert all(event["conids"] == ["265598"] for event in found)


def test_a_filter_asks_for_the_earnings_of_a_list(wire):
    wire.send(100, 5)
    text = json.dumps({"country": "All", "watchlist": ["265598", "272093"], "wshe_ed": "true"})
    events_of(wire, text=text, first="20260101", last="20261231")
    found = json.loads(wire.until(105, 6)[-1][2])

    assert {event["event_type"] for event in found} == {"wshe_ed"}
    assert len(found) == 8
    assert [event["index_date"] for event in found] == sorted(e["index_date"] for e in found)
    assert {event["data"]["time_of_day"] for event in found} <= set(wsh.TIMES)


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ({"con_id": 265598, "text": '{"wshe_ed": "true"}'}, "321"),
        ({"text": "no json"}, "321"),
        ({"con_id": 265598, "limit": 101}, "321"),
        ({"con_id": 265598, "first": "2026"}, "321"),
        ({"fills": (1, 0, 0)}, "10309"),
    ],
)
def test_questions_about_events_that_make_no_sense_are_refused(wire, asked, code):
    wire.send(100, 5)
    events_of(wire, **asked)

    assert wire.until(4, 2, 6)[-1][3] == code


def test_a_limit_cuts_events_off(wire):
    wire.send(100, 5)
    events_of(wire, con_id=265598, limit=3)

    assert len(json.loads(wire.until(105, 6)[-1][2])) == 3


def test_without_a_licence_there_are_no_events(gateway, wire):
    gateway.call(setattr, gateway.gateway, "wsh_licence", 0)
    wire.send(100, 5)

    assert wire.until(4, 2, 5)[-1][3] == "10276"


def test_ib_async_gets_events(ib):
    ib.getWshMetaData()
    found = json.loads(ib.getWshEventData(ib_async.WshEventData(conId=265598)))

    assert found[0]["source"] == "WSHE"


def test_a_date_becomes_firm_as_it_comes_near():
    apple = Universe.load().by_con_id(265598)
    span = date(2027, 1, 1), date(2027, 3, 31)

    def status(today):
        found = wsh.events(1, apple, *span, today=today)
        [event] = [one for one in found if one["event_type"] == "wshe_ed"]
        return event["data"]["wshe_earnings_date_status"], event["index_date"]

    told = [status(date(2026, 6, 1)), status(date(2026, 11, 20)), status(date(2027, 1, 15))]
    assert [word for word, _ in told] == ["INFERRED", "UNCONFIRMED", "CONFIRMED"]
    assert len({day for _, day in told}) == 1


@pytest.mark.parametrize(
    ("report", "code"), [("CalendarReport", "430"), ("ReportSnapshot", "10358")]
)
def test_fundamentals_are_no_more(wire, report, code):
    wire.send(52, 2, 5, 265598, "AAPL", "STK", "SMART", "", "USD", "", report, 0, "")

    assert wire.until(4, 2, 5)[-1][3] == code


# --- groups, advisors, components ---------------------------------------------------------------


def test_a_display_group_follows_whoever_changes_it(connect_wire, wire):
    other = connect_wire().start(10)
    for client in (wire, other):
        client.send(68, 1, 5, 3)
        assert client.until(68, 1, 5)[-1][3] == "none"
    wire.send(69, 1, 5, "265598@SMART")

    assert other.until(68, 1, 5)[-1][3] == "265598@SMART"
    other.send(70, 1, 5)
    wire.send(68, 1, 6, 9)
    assert wire.until(4, 2, 6)[-1][3] == "321"


def test_a_plain_account_has_no_groups(wire):
    wire.send(18, 1, 1)

    assert "non FA customers" in wire.until(4, 2, -1, 321)[-1][4]


def test_an_advisor_reads_and_replaces_groups(gateway, wire):
    gateway.call(setattr, gateway.gateway, "managed_accounts", lambda: "FSIM1,DUSIM1,DUSIM2")
    wire.send(18, 1, 1)
    before = wire.until(16)[-1]
    xml = "<ListOfGroups><Group><name>mine</name></Group></ListOfGroups>"
    wire.send(19, 1, 1, xml, 5)
    assert wire.until(103, 5)
    wire.send(18, 1, 1)
    after = wire.until(16)[-1]
    wire.send(19, 1, 1, "<broken", 6)

    assert "DUSIM2" in before[3]
    assert after[3] == xml
    assert wire.until(4, 2, 6)[-1][3] == "321"


def test_letters_of_a_known_key_mean_exchanges(wire):
    wire.send(83, 5, "9c0001")
    frame = wire.until(82, 5)[-1]
    wire.send(83, 6, "nothing")

    assert dict(zip(frame[5::3], frame[4::3], strict=True))["Q"] == "NASDAQ"
    assert wire.until(82, 6)[-1] == ["82", "6", "0"]


def test_a_histogram_adds_up_to_the_volume(stepped):
    stepped.send(88, 5, *AAPL, 0, 1, "3 days")
    frame = stepped.until(89, 5)[-1]
    prices, sizes = [float(x) for x in frame[3::2]], [int(x) for x in frame[4::2]]
    stepped.send(20, 6, *AAPL, 0, "", "1 day", "3 D", 1, "TRADES", 1, 0, "")
    days = stepped.until(17, 6)[-1]

    assert len(prices) == int(frame[2])
    assert prices == sorted(set(prices))
    assert sum(sizes) == sum(float(x) for x in days[10::8])


def test_ib_async_reads_a_histogram(ib):
    [apple] = ib.qualifyContracts(ib_async.Stock("AAPL", "SMART", "USD"))

    assert len(ib.reqHistogramData(apple, useRTH=True, period="2 days")) > 10


@pytest.mark.parametrize("number", [65, 66, 72, 73])
def test_verification_is_ignored(wire, number):
    wire.send(number, 1, "name", "1.0", "key")
    wire.send(49, 1)

    assert [frame[0] for frame in wire.until(49)] == ["49"]


# --- options ------------------------------------------------------------------------------------


@pytest.fixture
def optioned(connect_to):
    """A gateway that knows two options and a CFD on Apple, and a raw client."""
    universe = Universe.load()
    apple = universe.by_con_id(265598)
    common = {
        "under_con_id": 265598,
        "under_symbol": "AAPL",
        "min_tick": Decimal("0.01"),
        "sec_ids": (),
        "primary_exchange": "",
        "model": replace(apple.model, scale=0.05),
    }
    options = [
        replace(
            apple,
            con_id=910_000_000 + n,
            symbol="AAPLX",
            sec_type="OPT",
            last_trade_date="20261218",
            strike=strike,
            right="C",
            multiplier="100",
            local_symbol=f"AAPLX {n}",
            trading_class="AAPLX",
            valid_exchanges=("SMART", "CBOE"),
            **common,
        )
        for n, strike in enumerate((200.0, 210.0))
    ]
    cfd = replace(apple, con_id=910_000_009, symbol="AAPLC", sec_type="CFD", **common)
    clock = ManualClock(NOON)
    with run_gateway(universe=universe.with_instruments([*options, cfd]), clock=clock) as running:
        wire = connect_to(running).start(9)
        wire.until(4, 2, -1, 2158)
        yield wire


OPTION = (910_000_000, "", "OPT", "", "", "", "", "SMART", "", "", "", "")
CFD = (910_000_009, "", "CFD", "", "", "", "", "SMART", "", "", "", "")


def test_a_price_and_its_volatility_are_each_others_inverse(optioned):
    optioned.send(55, 3, 5, *OPTION, "0.25", "205", 0, "")
    priced = optioned.until(21, 5)[-1]
    optioned.send(54, 3, 6, *OPTION, priced[6], "205", 0, "")
    implied = optioned.until(21, 6)[-1]

    assert priced[2] == implied[2] == "53"
    assert float(implied[4]) == pytest.approx(0.25, abs=1e-6)
    assert 0 < float(priced[5]) < 1
    assert float(priced[9]) > 0 > float(priced[10])


def test_an_impossible_price_has_no_volatility(optioned):
    optioned.send(54, 3, 6, *OPTION, "0.01", "300", 0, "")
    frame = optioned.until(21, 6)[-1]

    assert (frame[4], frame[5]) == ("-1.0", "-2.0")


def test_an_option_line_carries_computations_of_all_four_kinds(optioned):
    optioned.send(1, 11, 7, *OPTION, 0, "", 1, 0, "")
    kinds = {frame[2] for frame in optioned.until(57, 1, 7) if frame[0] == "21"}

    assert kinds == {"10", "11", "12", "13"}


def test_a_cfd_is_rerouted_to_its_underlying(optioned):
    optioned.send(1, 11, 7, *CFD, 0, "", 0, 0, "")
    optioned.send(10, 5, 8, *CFD, 5, 0, "")

    assert optioned.until(91)[-1] == ["91", "7", "265598", "SMART"]
    assert optioned.until(92)[-1] == ["92", "8", "265598", "SMART"]


@pytest.mark.parametrize(
    ("asked", "code"),
    [
        ((55, 3, 5, *AAPL, "0.2", "100", 0, ""), "321"),
        ((55, 3, 5, *OPTION, "0", "100", 0, ""), "321"),
        ((21, 2, 5, *OPTION[:8], *OPTION[9:], 3, 1, "", 0), "321"),
        ((21, 2, 5, *OPTION[:8], *OPTION[9:], 1, 0, "", 0), "434"),
        ((21, 2, 5, *OPTION[:8], *OPTION[9:], 1, 1, "", 0), "322"),
    ],
)
def test_option_requests_that_make_no_sense_are_refused(optioned, asked, code):
    optioned.send(*asked)

    assert optioned.until(4, 2, 5)[-1][3] == code
