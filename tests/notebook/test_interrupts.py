"""The stop button, in a real kernel: the call ends, the loop thread goes on."""

from __future__ import annotations

import pytest
from jupyter_client.manager import start_new_kernel

SETUP = """
import asyncio, threading
from ibkit.connection.loop import LoopThread
loop = LoopThread()
ended = threading.Event()
async def never():
    print("waiting", flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        ended.set()
async def one():
    return 1
"""


@pytest.fixture(scope="module")
def kernel():
    manager, client = start_new_kernel(kernel_name="python3", startup_timeout=60)
    run(client, SETUP)
    yield manager, client
    client.stop_channels()
    manager.shutdown_kernel(now=True)


def run(client, code, interrupt=None):
    """Execute a cell; call `interrupt` when it prints. Return the reply and the text of results."""
    texts = []

    def see(message):
        kind, content = message["header"]["msg_type"], message["content"]
        if kind == "stream" and "waiting" in content["text"] and interrupt:
            interrupt()
        if kind == "execute_result":
            texts.append(content["data"]["text/plain"])

    reply = client.execute_interactive(code, output_hook=see, timeout=60, store_history=False)
    return reply["content"], texts


@pytest.mark.parametrize("cell", ["loop.run(never)", "await loop.arun(never)"])
def test_the_stop_button_ends_either_face(kernel, cell):
    manager, client = kernel
    run(client, "ended.clear()")

    content, _ = run(client, cell, interrupt=manager.interrupt_kernel)

    assert content["status"] == "error"
    assert content["ename"] in {"KeyboardInterrupt", "CancelledError"}
    assert run(client, "ended.wait(5)")[1] == ["True"]
    assert run(client, "loop.run(one), await loop.arun(one)")[1] == ["(1, 1)"]


def test_the_blocking_face_works_in_a_cell_although_the_kernels_loop_runs(kernel):
    _, client = kernel

    assert run(client, "loop.run(one)")[1] == ["1"]
