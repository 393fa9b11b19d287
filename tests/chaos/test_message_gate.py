"""The message gate on virtual time."""

from __future__ import annotations

import asyncio

from ibkit.connection.pacing import MESSAGES, RESERVE, MessageGate

BULK = "9\0ask\0"
ORDER = "3\0order\0"


def most_in_a_second(times: list[float]) -> int:
    return max(sum(1 for t in times if start <= t < start + 1) for start in times)


def test_a_burst_never_breaks_the_limit_and_nothing_is_lost(virtual):
    async def main(loop):
        sent = []
        gate = MessageGate(lambda _: sent.append(loop.time()))
        for _ in range(500):
            gate.offer(BULK)
        await asyncio.sleep(60)
        return sent

    sent = virtual(main)

    assert len(sent) == 500
    assert most_in_a_second(sent) == MESSAGES.most - RESERVE
    assert sent[-1] <= 500 / (MESSAGES.most - RESERVE)


def test_an_order_overtakes_a_burst_at_once(virtual):
    async def main(loop):
        sent = []
        gate = MessageGate(lambda message: sent.append((loop.time(), message)))
        for _ in range(500):
            gate.offer(BULK)
        await asyncio.sleep(0.5)
        gate.offer(ORDER)
        return sent

    assert virtual(main)[-1] == (0.5, ORDER)


def test_many_orders_still_keep_the_limit(virtual):
    async def main(loop):
        sent = []
        gate = MessageGate(lambda _: sent.append(loop.time()))
        for _ in range(100):
            gate.offer(ORDER)
            gate.offer(BULK)
        await asyncio.sleep(60)
        return sent

    sent = virtual(main)

    assert len(sent) == 200
    assert most_in_a_second(sent) <= MESSAGES.most


def test_requests_wait_for_their_turn_in_order_and_send_without_waiting_again(virtual):
    async def main(loop):
        sent = []
        gate = MessageGate(lambda message: sent.append((loop.time(), message)))

        async def ask(n: int) -> None:
            await gate.turn()
            gate.offer(f"9\0{n}\0", booked=True)

        await asyncio.gather(*(ask(n) for n in range(100)))
        return sent

    sent = virtual(main)

    assert [message.split("\0")[1] for _, message in sent] == [str(n) for n in range(100)]
    assert most_in_a_second([t for t, _ in sent]) <= MESSAGES.most - RESERVE


def test_a_cancelled_turn_costs_nothing(virtual):
    async def main(loop):
        sent = []
        gate = MessageGate(lambda _: sent.append(loop.time()))
        tasks = [asyncio.create_task(gate.turn()) for _ in range(200)]
        await asyncio.sleep(0.01)
        for task in tasks[40:]:
            task.cancel()
        await asyncio.sleep(0.99)
        gate.offer(BULK)
        return sent

    assert len(virtual(main)) == 1


def test_clear_forgets_what_waits(virtual):
    async def main(_):
        sent = []
        gate = MessageGate(sent.append)
        for _ in range(100):
            gate.offer(BULK)
        waiting = asyncio.create_task(gate.turn())
        await asyncio.sleep(0)
        gate.clear()
        await asyncio.sleep(10)
        return len(sent), gate.waiting, type(waiting.exception())

    assert virtual(main) == (40, 0, ConnectionResetError)


def test_the_gate_tells_when_one_more_may_go(virtual):
    async def main(loop):
        gate = MessageGate(lambda _: None)
        told = [gate.next_s()]
        for _ in range(MESSAGES.most - RESERVE):
            gate.offer(BULK)
        await asyncio.sleep(0.25)
        told.append(gate.next_s())
        await asyncio.sleep(gate.next_s())
        told.append(gate.next_s())
        return told

    assert virtual(main) == [0, 0.75, 0]
