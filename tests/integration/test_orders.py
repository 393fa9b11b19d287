"""The road of an order: checks, journal, socket, and what IB says of it."""

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import threading

import pytest
from ib_async import Order, OrderStatus, Trade

import ibkit
from ibkit.errors import (
    DuplicateIntentError,
    InvalidOrderError,
    OrderPendingError,
    OrderRefusedError,
    ReadOnlyError,
    UnknownContractError,
    UnknownOrderError,
)
from ibkit.orders import limit, market
from ibkit.orders.journal import Journal, Wish
from ibkit.sim.testing import gateway


@pytest.fixture
def running():
    with gateway() as one:
        yield one


@pytest.fixture
def root(tmp_path):
    return tmp_path / "sim"


@pytest.fixture
def kit(running, root):
    with ibkit.connect(port=running.port, root=root) as one:
        yield one


@pytest.fixture
def far(kit):
    """A price on the grid that no seller will ever meet."""
    close = kit.history.bars("AAPL", "1 day", days=1)["close"].iloc[-1]
    return round(close / 2, 2)


def states(kit):
    return {intent.key: intent.state for intent in kit.orders.intents()}


def test_a_market_order_fills_and_the_journal_knows(kit):
    placed = kit.orders.market("AAPL", "BUY", 100, key="open-1").wait(10)

    assert (placed.status, placed.filled, placed.remaining) == ("Filled", 100, 0)
    assert placed.average_price > 0
    assert placed.order_ref == "ibkit:open-1:1"
    [intent] = kit.orders.intents()
    assert (intent.state, intent.filled) == ("filled", 100)
    assert intent.perm_id == placed.view.perm_id > 0
    assert "AAPL" in repr(placed)


def test_the_intent_is_on_the_disk_before_the_order_is_on_the_wire(kit, monkeypatch):
    seen = []

    def refuse(contract, order):
        seen.append(kit.orders._recorder._journals["DUSIM0001"].get(order.orderRef).state)
        raise ConnectionError("gone")

    monkeypatch.setattr(kit.link.ib, "placeOrder", refuse)

    with pytest.raises(ConnectionError):
        kit.orders.market("AAPL", "BUY", 1, key="x")

    assert seen == ["intended"]
    assert states(kit) == {"x": "refused"}


def test_a_limit_order_rests_until_it_is_cancelled(kit, far):
    placed = kit.orders.limit("AAPL", "BUY", 10, far, key="low")
    assert placed.status in {"PreSubmitted", "Submitted"}
    [row] = kit.orders.open().to_dict("records")
    assert (row["order_ref"], row["limit_price"], row["instrument"]) == ("ibkit:low:1", far, "AAPL")
    assert states(kit) == {"low": "working"}

    placed.cancel()

    assert placed.status == "Cancelled"
    assert placed.done
    assert len(kit.orders.open()) == 0
    assert states(kit) == {"low": "cancelled"}
    assert placed.cancel().status == "Cancelled"


def test_an_order_can_be_cancelled_by_key_reference_or_id(kit, far):
    for n, name in enumerate(["a", "ibkit:b:1", None]):
        placed = kit.orders.limit("AAPL", "BUY", 10 + n, far, key="abc"[n])
        assert kit.orders.cancel(name or placed.view.order_id).status == "Cancelled"

    with pytest.raises(UnknownOrderError, match="nothing"):
        kit.orders.cancel("nothing")


def test_cancel_all_ends_everything(kit, far):
    for n in range(3):
        kit.orders.limit("AAPL", "BUY", 10 + n, far)

    ended = kit.orders.cancel_all()

    assert ended["status"].tolist() == ["Cancelled"] * 3
    assert len(kit.orders.open()) == 0


def test_waiting_for_a_resting_order_runs_out(kit, far):
    placed = kit.orders.limit("AAPL", "BUY", 10, far, key="low")

    with pytest.raises(OrderPendingError, match="Submitted"):
        placed.wait(0.1)


def test_a_key_places_one_order(kit):
    kit.orders.market("AAPL", "BUY", 1, key="once")

    with pytest.raises(DuplicateIntentError, match="once"):
        kit.orders.market("AAPL", "BUY", 1, key="once")
    assert kit.orders.market("AAPL", "BUY", 1, key="once", again=True).order_ref == "ibkit:once~2:1"


def test_the_same_order_twice_in_a_row_is_taken_for_a_mistake(kit):
    kit.orders.market("AAPL", "BUY", 1)

    with pytest.raises(DuplicateIntentError):
        kit.orders.market("AAPL", "BUY", 1)
    kit.orders.market("AAPL", "BUY", 2)
    kit.orders.market("AAPL", "SELL", 1)


@pytest.mark.parametrize(
    ("contract", "order", "words"),
    [
        ("AAPL", limit("BUY", 1, "189.503"), "nearest: 189.50 or 189.51"),
        ("FUT:ES", limit("BUY", 1, "5000.10"), "nearest: 5000.00 or 5000.25"),
        ("FUT:ES", market("BUY", 1.5), "steps of 1"),
        ("AAPL", Order(action="BUY", totalQuantity=0, orderType="MKT"), "positive"),
    ],
)
def test_a_bad_order_reaches_neither_journal_nor_socket(kit, contract, order, words):
    with pytest.raises(InvalidOrderError, match=words):
        kit.orders.place(contract, order)

    assert kit.orders.intents() == []


def test_an_unknown_instrument_is_ibs_error(kit):
    with pytest.raises(UnknownContractError):
        kit.orders.market("NOSUCH", "BUY", 1)


def test_a_what_if_prices_an_order_without_placing_it(kit):
    foreseen = kit.orders.what_if("AAPL", market("BUY", 100))

    assert foreseen.init_margin_change > 0
    assert foreseen.commission_currency == "USD"
    assert len(kit.orders.trades()) == 0
    assert kit.orders.intents() == []


def test_a_read_only_connection_sends_nothing(running, root):
    with ibkit.connect(port=running.port, root=root, trading=False) as kit:
        for call in (
            lambda: kit.orders.market("AAPL", "BUY", 1),
            lambda: kit.orders.cancel("x"),
            kit.orders.cancel_all,
        ):
            with pytest.raises(ReadOnlyError, match="read-only"):
                call()
        assert kit.orders.what_if("AAPL", market("BUY", 1)).init_margin_change > 0


def test_a_rejection_is_ibs_error_and_the_journal_knows(kit):
    with pytest.raises(OrderRefusedError, match="IB 201") as caught:
        kit.orders.market("AAPL", "BUY", 50_000_000, key="huge")

    assert caught.value.code == 201
    assert states(kit) == {"huge": "refused"}


def test_an_error_that_ib_async_takes_for_a_cancel_is_checked_with_ib(kit, far):
    placed = kit.orders.limit("AAPL", "BUY", 10, far, key="preset")
    words = "Order TIF was set to DAY based on order preset."

    kit.link.loop.call(kit.link.ib.wrapper.error, placed.view.order_id, 10349, words, "")
    with pytest.raises(OrderPendingError):
        placed.wait(0.3)

    assert placed.status in {"PreSubmitted", "Submitted"}
    assert not placed.view.provisional
    assert placed.view.messages == ((10349, words),)
    assert states(kit) == {"preset": "working"}


def test_an_order_that_ib_never_took_is_refused_in_ibs_words(kit, far, monkeypatch):
    def unheard(contract, order):  # as IB answers 110 and 321: an error, and no order
        trade = Trade(contract, order, OrderStatus(order.orderId, "PendingSubmit"))
        wrapper = kit.link.ib.wrapper
        wrapper.trades[order.clientId, order.orderId] = trade
        loop = asyncio.get_running_loop()
        loop.call_soon(wrapper.error, order.orderId, 321, "Error validating request", "")
        return trade

    monkeypatch.setattr(kit.link.ib, "placeOrder", unheard)

    with pytest.raises(OrderRefusedError, match="IB 321"):
        kit.orders.limit("AAPL", "BUY", 10, far, key="odd")

    assert states(kit) == {"odd": "refused"}


def test_an_interrupt_before_the_socket_leaves_nothing_unresolved(kit, monkeypatch):
    begun, slow, intend = threading.Event(), threading.Event(), Journal.intend

    def late(self, wish, *, again):
        begun.set()
        slow.wait(10)
        return intend(self, wish, again=again)

    monkeypatch.setattr(Journal, "intend", late)

    async def place_and_give_up():
        task = asyncio.ensure_future(kit.orders.market.aio("AAPL", "BUY", 1, key="stopped"))
        assert await asyncio.to_thread(begun.wait, 30)
        task.cancel()
        await asyncio.wait({task}, timeout=0.1)
        await asyncio.to_thread(kit.link.loop.call, lambda: None)  # it knows of the cancel by now
        slow.set()
        await asyncio.wait({task})

    asyncio.run(place_and_give_up())

    assert states(kit) == {"stopped": "refused"}
    assert len(kit.orders.trades()) == 0


def test_an_unattended_run_names_its_orders(running, root, monkeypatch):
    monkeypatch.setenv("IBKIT_RUN", "1")
    with ibkit.connect(port=running.port, root=root) as kit:
        with pytest.raises(InvalidOrderError, match="key="):
            kit.orders.market("AAPL", "BUY", 1)
        assert kit.orders.market("AAPL", "BUY", 1, key="named").wait(10).status == "Filled"


def test_both_faces_place_orders(kit):
    placed = asyncio.run(kit.orders.market.aio("AAPL", "BUY", 1, key="aio"))

    assert placed.wait(10).filled == 1


def test_fills_have_their_commission(kit):
    kit.orders.market("AAPL", "BUY", 100, key="f").wait(10)
    kit.orders.market("AAPL", "SELL", 40, key="g").wait(10)

    fills = kit.orders.fills()

    assert fills.groupby("order_ref")["quantity"].sum().to_dict() == {
        "ibkit:f:1": 100,
        "ibkit:g:1": 40,
    }
    assert set(fills["action"]) == {"BUY", "SELL"}
    assert str(fills.index.dtype) == "datetime64[us, UTC]"


def test_tables_without_rows_have_their_columns(kit):
    for frame in (kit.orders.open(), kit.orders.trades(), kit.orders.fills()):
        assert len(frame) == 0
        assert {"order_ref", "instrument", "action", "quantity"} <= set(frame.columns)


def test_after_a_restart_the_journal_finds_its_orders_at_ib(running, root):
    with ibkit.connect(port=running.port, root=root) as kit:
        kit.orders.limit("AAPL", "BUY", 10, 1.0, key="rests")
        kit.orders.limit("AAPL", "BUY", 11, 1.0, key="goes")
    with ibkit.connect(port=running.port, root=root, client_id=1) as kit:
        assert kit.orders.reconcile() == []
        assert states(kit) == {"rests": "working", "goes": "working"}
        assert kit.orders.cancel("goes").status == "Cancelled"
        with pytest.raises(DuplicateIntentError):
            kit.orders.limit("AAPL", "BUY", 10, 1.0, key="rests")


def test_an_intent_that_ib_does_not_know_is_unknown_and_not_sent_again(running, root):
    with Journal(root / "journal" / "DUSIM0001.sqlite") as journal:
        journal.intend(Wish("AAPL", "BUY 1 MKT DAY", "f", 1.0, key="lost"))

    with ibkit.connect(port=running.port, root=root) as kit:
        [lost] = kit.orders.reconcile()
        assert (lost.key, lost.state) == ("lost", "unknown")
        with pytest.raises(DuplicateIntentError, match="unknown"):
            kit.orders.market("AAPL", "BUY", 1, key="lost")
        assert len(kit.orders.trades()) == 0


def test_a_killed_process_leaves_no_order_that_the_journal_does_not_know(running, root):
    script = textwrap.dedent(
        f"""
        import ibkit
        kit = ibkit.connect(port={running.port}, root={str(root)!r}, client_id=7)
        for n in range(10_000):
            kit.orders.limit("AAPL", "BUY", 1 + n, 1.0, key=f"k{{n}}")
            print(n, flush=True)
        """
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    for _ in range(5):
        process.stdout.readline()
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()

    with ibkit.connect(port=running.port, root=root, client_id=8) as kit:
        kit.orders.reconcile()
        at_ib = set(kit.orders.open()["order_ref"])
        known = {intent.order_ref: intent for intent in kit.orders.intents()}

    assert len(at_ib) >= 5
    assert at_ib <= set(known)
    assert {known[ref].state for ref in at_ib} == {"working"}
    assert {i.state for ref, i in known.items() if ref not in at_ib} <= {"unknown"}
