"""Whatever happens when, close() ends the connection for good, and every request ends in words."""

from __future__ import annotations

import asyncio
import random

import pytest
from ib_async import Stock

from ibkit.connection import Link
from ibkit.errors import IbkitError
from ibkit.settings import Profile
from ibkit.sim.server import Gateway
from ibkit.sim.universe import Universe

SEEDS = range(60)
# the request names of the simulated gateway that it may leave unanswered
DEAF = ["req_positions", "req_open_orders", "req_executions", "req_current_time"]
UNIVERSE = Universe.load()


async def program(loop, clock, seed):
    """Open, ask, and close at a moment that the seed chooses; return what is to be judged."""
    dice = random.Random(seed)
    gateway = Gateway(clock=clock, universe=UNIVERSE)
    port = await gateway.start()
    gateway.faults.greeting = dice.choice(["serve"] * 4 + ["silent", "drop"])
    gateway.faults.unanswered |= {name for name in DEAF if dice.random() < 0.15}
    link = Link(Profile(name="sim", kind="sim", port=port, timeout_s=2))
    outcomes, states = [], []
    link.events.publish = lambda topic, payload: (
        states.append(payload.after) if topic == "state" else None
    )

    async def work() -> None:
        try:
            await link.open()
            contract = Stock("AAPL", "SMART", "USD")
            await asyncio.gather(
                link.request("time", lambda ib: ib.reqCurrentTimeAsync()),
                link.request("details", lambda ib: ib.reqContractDetailsAsync(contract)),
                link.request("orders", lambda ib: ib.reqOpenOrdersAsync()),
                link.request("orders", lambda ib: ib.reqOpenOrdersAsync()),
            )
            outcomes.append("done")
        except IbkitError as error:
            outcomes.append(type(error).__name__)

    async def cut() -> None:
        await asyncio.sleep(dice.uniform(0, 0.05))
        for pipe in tuple(loop.open):
            pipe.cut()

    tasks = [asyncio.create_task(work())]
    if dice.random() < 0.3:
        tasks.append(asyncio.create_task(cut()))
    await asyncio.sleep(dice.choice([dice.uniform(0, 0.03), dice.uniform(0, 5)]))
    await link.close()
    at_close = len(states)
    await asyncio.gather(*tasks)
    await asyncio.sleep(3_600)
    left = [
        task
        for task in asyncio.all_tasks()
        if task is not asyncio.current_task() and "sim-" not in task.get_name()
    ]
    await gateway.stop()
    await asyncio.sleep(1)
    return link, outcomes, states, at_close, left


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_reopens_and_nothing_hangs(virtual, loop_clock, seed):
    async def main(loop):
        result = await program(loop, loop_clock(loop), seed)
        return *result, loop.open, loop.problems

    link, outcomes, states, at_close, left, pipes, problems = virtual(main)

    assert link.state == "closed"
    assert "ready" not in states[at_close:]
    assert len(outcomes) == 1, "the program ended with a result or a typed error"
    assert left == []
    assert link.ib.wrapper._futures == {}
    assert link.gate.waiting == 0
    assert not pipes
    assert problems == []


def test_a_seed_replays_exactly(virtual, loop_clock):
    def once():
        async def main(loop):
            _, outcomes, states, *_ = await program(loop, loop_clock(loop), 7)
            return outcomes, states, loop.now

        return virtual(main)

    assert once() == once()
