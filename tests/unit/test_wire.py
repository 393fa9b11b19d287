import struct
from decimal import Decimal

import pytest

from ibkit.sim.wire import REPLIES, REQUESTS, Deframer, WireError, pack, unpack
from ibkit.sim.wire import replies as r
from ibkit.sim.wire.fields import UNSET_DOUBLE, read_number, read_whole, write_number, write_text

AAPL = {
    "con_id": 265598,
    "symbol": "AAPL",
    "sec_type": "STK",
    "exchange": "SMART",
    "currency": "USD",
    "local_symbol": "AAPL",
    "trading_class": "NMS",
}
# a market order as a real gateway echoed it (server version 173, without the retired faProfile)
RECORDED = (
    "5|5|265598|AAPL|STK||0|?||SMART|USD|AAPL|NMS|BUY|100|MKT|0.0|0.0|DAY||DU1234567||0||100|"
    "600745656|0|0|0||600745656.0/DU1234567/100|||||||||0||-1|0||||||2147483647|0|0|0||3|0|0||0|0||"
    "0|None||0||||?|0|0||0|0||||||0|0|0|2147483647|2147483647|||0||IB|0|0||0|0|PreSubmitted|U|U|U|U|"
    "U|U|U|U|U||||||0|0|0|None|U|U|U|U|U|U|0||||0|1|0|0|0|||0||100|0.02||"
)


def test_an_open_order_has_the_fields_that_a_real_gateway_sent():
    fields = r.OPEN_ORDER.fields(
        {
            "order_id": 5,
            "contract": AAPL,
            "action": "BUY",
            "total_quantity": 100,
            "order_type": "MKT",
            "tif": "DAY",
            "account": "DU1234567",
            "client_id": 100,
            "perm_id": 600745656,
            "discretionary_amt": 0,
            "shares_allocation": "600745656.0/DU1234567/100",
            "status": "PreSubmitted",
            "dont_use_auto_price_for_hedge": True,
            "min_compete_size": 100,
            "compete_against_best_offset": Decimal("0.02"),
        }
    )

    assert fields == [UNSET_DOUBLE if text == "U" else text for text in RECORDED.split("|")]


def test_plain_orders_have_the_counted_number_of_fields():
    order = {"contract": AAPL, "action": "BUY", "order_type": "MKT", "total_quantity": 1}
    ids = {"order_id": 1, "client_id": 1, "perm_id": 1, "filled_quantity": 0}

    assert len(r.OPEN_ORDER.fields({**order, **ids})) == 135
    assert len(r.COMPLETED_ORDER.fields({**order, **ids})) == 100
    assert len(REQUESTS[3].fields({**order, **ids})) == 114


@pytest.mark.parametrize(
    ("name", "count"), [("TICK_PRICE", 7), ("PORTFOLIO", 20), ("COMMISSION_REPORT", 8)]
)
def test_messages_that_ib_async_unpacks_by_exact_count(name, count):
    message = getattr(r, name)
    values = dict.fromkeys(("req_id", "tick_type", "price", "size", "commission"), 1)
    values |= dict.fromkeys(("position", "market_price", "market_value", "average_cost"), 1)
    values |= {"unrealized_pnl": 1, "realized_pnl": 1, "contract": AAPL}

    assert len(message.fields(values)) == count


def test_numbers_are_message_numbers_of_their_own():
    assert len(REQUESTS) == 80
    assert len(REPLIES) == 78
    assert all(message.id == number for number, message in {**REQUESTS}.items())


@pytest.mark.parametrize(
    "text", ["", "2147483647", "1.7976931348623157E308", "1.7976931348623157e+308"]
)
def test_every_spelling_of_unset_is_none(text):
    assert read_number(text) is None


def test_both_spellings_of_infinity_are_read():
    assert read_number("Infinite") == read_number("Infinity") == Decimal("Infinity")


@pytest.mark.parametrize("text", ["x", "nan", "1,5", "1.5.5", "0x10"])
def test_what_is_no_number_is_refused(text):
    with pytest.raises(WireError):
        read_number(text)


def test_what_is_no_integer_is_refused():
    with pytest.raises(WireError, match="is no integer"):
        read_whole("1.5")


@pytest.mark.parametrize(
    ("value", "text"),
    [(1e-05, "0.00001"), (float("inf"), "Infinity"), (100, "100"), (Decimal("1E+3"), "1000")],
)
def test_numbers_are_written_without_exponents(value, text):
    assert write_number(value) == text


def test_text_is_ascii_and_holds_no_separator():
    assert write_text("a\0bé€\U0001f600") == "ab\\u00e9\\u20ac\\ud83d\\ude00"


def test_a_missing_field_is_refused_with_its_place():
    with pytest.raises(WireError, match="ends after 2 fields"):
        REQUESTS[2].decode(["2", "2"])


def test_an_empty_request_id_is_refused_by_name():
    with pytest.raises(WireError, match="req_id is missing"):
        REQUESTS[2].decode(["2", "2", ""])


def test_a_count_beyond_the_frame_is_refused_before_anything_is_made():
    with pytest.raises(WireError, match="cannot be in this frame"):
        r.HISTORICAL_DATA.decode(["17", "1", "", "", "99999999"])


def test_fields_of_a_newer_version_are_ignored_unless_asked():
    assert REQUESTS[49].decode(["49", "1", "new"]) == {}
    with pytest.raises(WireError, match="1 fields of req_current_time are left over"):
        REQUESTS[49].decode(["49", "1", "new"], strict=True)


def test_a_stream_is_cut_into_frames_however_it_was_split():
    stream = pack(["9", "1", "7"]) + pack(["15", "1", "DUSIM0001"])
    frames, seen = Deframer(), []
    for at in range(len(stream)):
        frames.feed(stream[at : at + 1])
        seen += [unpack(payload) for payload in frames.payloads()]

    assert seen == [["9", "1", "7"], ["15", "1", "DUSIM0001"]]


def test_a_length_beyond_the_limit_ends_the_stream():
    frames = Deframer(limit=10)
    frames.feed(struct.pack(">I", 11))

    with pytest.raises(WireError, match="too long"):
        frames.next()
