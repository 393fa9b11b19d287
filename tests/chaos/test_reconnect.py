"""Seeded nights: faults at any moment, and at the end the connection is what it should be.

`IBKIT_CHAOS_SEEDS` sets how many schedules there are (300). A failing seed replays exactly: run
it alone with ``-k "[17]"``.
"""

from __future__ import annotations

import asyncio
import os
import random

import pytest
from ib_async import LimitOrder, Stock

from ibkit.connection import Link
from ibkit.connection.asks import ask_for
from ibkit.connection.ledger import Ledger
from ibkit.errors import IbkitError
from ibkit.settings import Profile
from ibkit.sim.server import Gateway
from ibkit.sim.universe import Universe

SEEDS = range(int(os.environ.get("IBKIT_CHAOS_SEEDS", "300")))
UNIVERSE = Universe.load()
AAPL = Stock("AAPL", "SMART", "USD", conId=265598)
MSFT = Stock("MSFT", "SMART", "USD", conId=272093)
BARS = ask_for("reqHistoricalData", MSFT, "", "1 D", "1 hour", "TRADES", useRTH=True)
NIGHT_S = 200.0
# what a seed may do to the gateway, and with what
FAULTS = (
    ("drop", {}),
    ("restart", {"down_s": 20.0}),
    ("link_lost", {"for_s": 30.0}),
    ("half_open", {"for_s": 40.0}),
    ("refuse", {"for_s": 60.0}),
    ("silent", {"for_s": 30.0}),
    ("hang_up", {"for_s": 20.0}),
    ("linger", {"for_s": 90.0}),
    ("farm_down", {"farm": "usfarm", "for_s": 50.0}),
    ("ignore", {"request": "reqContractDetails", "for_s": 20.0}),
    ("cut", {"for_s": 10.0}),
    ("corrupt_field", {"message": "tickPrice", "for_s": 20.0}),
)


class Night:
    """One schedule of faults over one program of requests, streams and orders."""

    def __init__(self, loop, clock, seed):
        self.dice = random.Random(seed)
        self.loop = loop
        self.gateway = Gateway(clock=clock, universe=UNIVERSE)
        self.states, self.outcomes, self.placed = [], [], []

    async def run(self):
        port = await self.gateway.start()
        profile = Profile(name="sim", kind="sim", port=port, timeout_s=5, retry_cap_s=10)
        books = Ledger(None, now=self.loop.time)
        self.link = link = Link(profile, ledger=books)
        link.supervisor.dice = random.Random(self.dice.random())
        link.events.publish = lambda topic, payload: (
            self.states.append(payload.after) if topic == "state" else None
        )
        await link.open()
        tickers = [await self._watch(each) for each in (AAPL, MSFT)]
        work = [asyncio.create_task(self._ask()), asyncio.create_task(self._order())]
        for _ in range(self.dice.randrange(1, 5)):
            await asyncio.sleep(self.dice.uniform(0, 120))
            kind, options = self.dice.choice(FAULTS)
            self.gateway.faults.arm(kind, **options)
        await asyncio.gather(*work)
        self.gateway.faults.clear()
        await asyncio.sleep(NIGHT_S)
        self.final = link.state
        seen = [len(self.gateway.clients), *(ticker.time for ticker in tickers)]
        await asyncio.sleep(30)
        self.ticking = [
            ticker.time != before for ticker, before in zip(tickers, seen[1:], strict=True)
        ]
        self.orders = [
            (trade.order.orderRef, trade.orderStatus.status) for trade in link.ib.trades()
        ]
        used = books.gauge().used
        self.held = used["market data lines"], used["open historical requests"], used["client id"]
        await link.close()
        await asyncio.sleep(60)
        self.left = [
            task.get_name()
            for task in asyncio.all_tasks()
            if task is not asyncio.current_task() and "sim-" not in task.get_name()
        ]
        await self.gateway.stop()
        await asyncio.sleep(1)

    async def _watch(self, contract):
        ask = ask_for("reqMktData", contract)
        return await self.link.request("quotes", lambda ib: ib.reqMktData(contract), ask=ask)

    async def _ask(self):
        """Ask this and that, all night long."""
        for _ in range(12):
            await asyncio.sleep(self.dice.uniform(0, 40))
            call = self.dice.choice(
                [
                    lambda ib: ib.reqCurrentTimeAsync(),
                    lambda ib: ib.reqContractDetailsAsync(AAPL),
                    lambda ib: ib.reqOpenOrdersAsync(),
                    lambda ib: ib.reqHistoricalDataAsync(
                        MSFT, "", "1 D", "1 hour", "TRADES", useRTH=True, timeout=0
                    ),
                ]
            )
            try:
                answer = self.link.request("a question", call, timeout_s=20, ask=BARS)
                assert await answer is not None
                self.outcomes.append("answer")
            except IbkitError as error:
                self.outcomes.append(type(error).__name__)

    async def _order(self):
        """Place orders that rest, when the connection is ready; a placed one is in the list."""
        for number in range(4):
            await asyncio.sleep(self.dice.uniform(0, 90))
            if self.link.state != "ready":
                continue
            order = LimitOrder("BUY", 1, 1.0, tif="GTC", orderRef=f"night-{number}")
            try:
                self.link.ib.placeOrder(AAPL, order)
            except ConnectionError:
                continue
            self.placed.append(order.orderRef)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_night_of_faults_ends_well(virtual, loop_clock, seed):
    async def main(loop):
        night = Night(loop, loop_clock(loop), seed)
        await night.run()
        return night

    night = virtual(main)

    assert night.final == "ready"
    assert night.ticking == [True, True], "no stream is silently dead"
    assert night.held == (2, 0, 1), "what is open is held, and nothing else"
    assert len(night.outcomes) == 12, "each request ended with a result or a typed error"
    found = [ref for ref, _ in night.orders]
    assert len(found) == len(set(found)), "no order twice"
    assert set(found) <= set(night.placed)
    assert night.left == []
    assert night.link.ib.wrapper._futures == {}
    assert night.link.gate.waiting == 0
    assert not night.loop.open
    assert night.loop.problems == []


def test_a_night_replays_exactly(virtual, loop_clock):
    def once():
        async def main(loop):
            night = Night(loop, loop_clock(loop), 5)
            await night.run()
            return night.states, night.outcomes, night.orders, loop.now

        return virtual(main)

    assert once() == once()
