"""IB's answers on the disk: what they hold, how long, and what has changed since."""

from datetime import UTC, datetime, timedelta

import pytest
from ib_async import Contract, ContractDetails, TagValue

from ibkit.contracts.book import Book, group_name, group_of, kind_of, pack, question_of, unpack
from ibkit.naming import parse
from ibkit.store import Store

NOW = datetime(2026, 11, 20, 15, tzinfo=UTC)


def details(con_id=1, symbol="AAPL", **more):
    contract = Contract("STK", con_id, symbol, exchange="SMART", currency="USD", **more)
    made = ContractDetails(contract, minTick=0.01, longName="APPLE", orderTypes="LMT,MKT")
    made.secIdList = [TagValue("ISIN", "US0378331005")]
    return made


@pytest.fixture
def book(tmp_path):
    return Book(Store(tmp_path, kind="sim"), simulated=True)


def test_details_come_back_as_they_were():
    assert unpack(pack(details())) == details()


def test_another_process_reads_what_one_kept(book, tmp_path):
    book.keep({"AAPL": [details()]}, group_name("STK"), NOW)
    other = Book(Store(tmp_path, kind="sim"), simulated=True)

    found = other.find("AAPL", group_name("STK"))
    assert (found.at, found.matches) == (NOW, [details()])
    assert other.find("MSFT", group_name("STK")) is None


def test_an_ambiguous_answer_is_kept_whole(book):
    book.keep({"DUO": [details(1), details(2)]}, group_name("STK"), NOW)

    matches = book.find("DUO", group_name("STK")).matches
    assert [each.contract.conId for each in matches] == [1, 2]


@pytest.mark.parametrize(
    ("text", "expiry", "days", "holds"),
    [
        ("AAPL", "", 29, True),
        ("AAPL", "", 31, False),
        ("FUT:ES", "20261218", 2, False),
        ("FUT:ES:202612", "20261218", 2, True),
        ("FUT:ES:202612", "20261218", 28, True),
        ("FUT:ES:202612", "20261218", 29, False),
        ("CASH:EURUSD", "", 300, True),
    ],
)
def test_each_kind_has_its_own_age_and_no_derivative_outlives_its_last_day(
    book, text, expiry, days, holds
):
    description = parse(text)
    answer = [details(lastTradeDateOrContractMonth=expiry)]
    book.keep({text: answer}, group_of(description), NOW)
    found = book.find(text, group_of(description))

    assert book.holds(found, kind_of(description), NOW + timedelta(days=days)) is holds


def test_a_new_number_and_a_new_name_are_noticed(book):
    group, day = group_name("STK"), timedelta(days=40)
    book.keep({"AAPL": [details(1)], "FB": [details(5, "FB")]}, group, NOW)
    book.keep({"AAPL": [details(2)], "CONID:5": [details(5, "META")]}, group, NOW + day)

    rows = book.changes()[["entry", "field", "before", "after"]].to_numpy().tolist()
    assert sorted(rows) == [["AAPL", "con_id", "1", "2"], ["CONID:5", "symbol", "FB", "META"]]


def test_nothing_new_is_no_change(book):
    for days in (0, 40):
        book.keep({"AAPL": [details(1)]}, group_name("STK"), NOW + timedelta(days=days))

    assert book.changes().empty


def test_a_description_that_shorthand_cannot_say_is_remembered_by_its_fields():
    local = Contract(secType="FUT", localSymbol="ESZ6", exchange="CME")

    assert question_of(local) == "exchange=CME localSymbol=ESZ6 secType=FUT"
    assert question_of(parse("FUT:ES:202612")) == "FUT:ES:202612"


def test_a_store_that_cannot_be_written_is_no_reason_to_fail(tmp_path):
    reader = Book(Store(tmp_path, kind="sim", role="reader"), simulated=True)
    reader.keep({"AAPL": [details()]}, group_name("STK"), NOW)

    assert reader.find("AAPL", group_name("STK")).matches == [details()]


def test_an_instrument_is_found_by_any_description_that_fits_it(book):
    book.keep({"AAPL": [details(1)]}, group_name("STK"), NOW)
    book.keep_value("CHAIN:1", [["SMART", "1"]], group_name("CHAIN"), NOW)

    for text in ("CONID:1", "AAPL@*:*", "AAPL"):
        assert [each.contract.conId for each in book.search(parse(text))] == [1]
    assert book.search(parse("AAPL@LSE")) == book.search(parse("CONID:2")) == []


def test_what_is_known_is_the_newest_answer_to_each_question(book):
    for days, number in ((0, 1), (40, 2)):
        book.keep({"AAPL": [details(number)]}, group_name("STK"), NOW + timedelta(days=days))

    known = book.known()
    assert known["con_id"].to_list() == [2]
    assert known.loc["AAPL", "as_of"] == NOW + timedelta(days=40)


def test_a_value_is_found_by_how_its_question_begins_the_newest_first(book):
    group = group_name("MARGIN")
    for days, account in ((0, "DU1"), (1, "DU2")):
        book.keep_value(f"MARGIN ES {account}", account, group, NOW + timedelta(days=days))

    assert book.newest("MARGIN ES ", group).value == "DU2"
    assert book.find("MARGIN ES DU", group) is None
