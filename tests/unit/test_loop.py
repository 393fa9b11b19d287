"""The loop thread and its two faces."""

from __future__ import annotations

import asyncio
import contextvars
import doctest
import inspect
import pydoc
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from ibkit.connection.loop import LoopThread, on_loop
from ibkit.errors import LoopThreadError


@pytest.fixture
def loop():
    with LoopThread() as thread:
        yield thread


class Service:
    """Something whose coroutines run on the loop."""

    def __init__(self, loop: LoopThread) -> None:
        self._loop = loop
        self.cancelled = threading.Event()
        self.started = threading.Event()

    @on_loop
    async def add(self, a: int, b: int = 1) -> int:
        """Return the sum."""
        return a + b

    @on_loop
    async def thread(self) -> int:
        return threading.get_ident()

    @on_loop
    async def fail(self) -> None:
        raise KeyError("no")

    @on_loop
    async def wait_for_ever(self) -> None:
        self.started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    @on_loop
    async def call_myself(self) -> int:
        return self.add(1)

    @on_loop
    async def await_myself(self) -> int:
        return await self.add.aio(1, b=2)


@pytest.fixture
def service(loop):
    return Service(loop)


def test_both_faces_run_on_the_loop_thread(service):
    there = service.thread()

    assert there != threading.get_ident()
    assert asyncio.run(service.thread.aio()) == there


def test_both_faces_take_the_same_arguments(service):
    assert service.add(1, b=2) == 3
    assert asyncio.run(service.add.aio(1, b=2)) == 3
    assert Service.add(service, 4) == 5
    assert asyncio.run(Service.add.aio(service, 4)) == 5


def test_an_exception_reaches_the_caller_of_either_face(service):
    with pytest.raises(KeyError, match="no"):
        service.fail()
    with pytest.raises(KeyError, match="no"):
        asyncio.run(service.fail.aio())


def test_a_wrong_argument_is_an_error_of_either_face_not_a_wait_for_ever(service):
    with pytest.raises(TypeError, match="nonsense"):
        service.add(1, nonsense=2)
    with pytest.raises(TypeError, match="'a'"):
        service.add()
    with pytest.raises(TypeError, match="nonsense"):
        asyncio.run(service.add.aio(1, nonsense=2))

    assert service.add(1, b=2) == 3


def test_the_blocking_face_works_from_many_threads_at_once(service):
    results = []
    threads = [
        threading.Thread(target=lambda n=n: results.append(service.add(n, 0))) for n in range(50)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(results) == list(range(50))


def test_the_blocking_face_on_the_loop_thread_is_an_error_not_a_deadlock(service):
    with pytest.raises(LoopThreadError, match=r"await ….add.aio"):
        service.call_myself()


def test_the_awaitable_face_on_the_loop_thread_just_runs(service):
    assert service.await_myself() == 3


def test_a_cancelled_await_cancels_the_coroutine(service):
    async def main() -> None:
        task = asyncio.create_task(service.wait_for_ever.aio())
        await asyncio.to_thread(service.started.wait)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())

    assert service.cancelled.wait(5)


def test_an_interrupt_cancels_the_request_and_leaves_the_loop_working(service):
    def interrupt() -> None:
        service.started.wait()
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        service.wait_for_ever()

    assert service.cancelled.is_set()
    assert service.add(1) == 2


def test_context_variables_travel_with_the_call(loop):
    name = contextvars.ContextVar("name", default="nobody")

    async def who() -> str:
        return name.get()

    name.set("alice")

    assert loop.run(who) == "alice"


def test_call_runs_a_plain_function_there_and_nests(loop):
    assert loop.call(lambda: loop.call(threading.get_ident)) == loop.call(threading.get_ident)


def test_close_cancels_what_waits_and_says_so(service, loop):
    caught = []

    def wait() -> None:
        try:
            service.wait_for_ever()
        except LoopThreadError as error:
            caught.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    service.started.wait()

    assert loop.close()
    thread.join(5)
    assert "closed" in str(caught[0])
    assert service.cancelled.is_set()


def test_close_twice_is_allowed_and_a_later_call_is_a_clear_error(service, loop):
    assert loop.close()
    assert loop.close()
    assert loop.closed
    with pytest.raises(LoopThreadError, match="connect"):
        service.add(1)
    with pytest.raises(LoopThreadError, match="connect"):
        asyncio.run(service.add.aio(1))


def test_close_on_the_loop_thread_does_not_deadlock(loop):
    assert loop.call(loop.close) is False

    loop._thread.join(5)
    assert loop.closed


def count_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_a_hundred_loops_leave_no_thread_behind(tmp_path):
    before = threading.active_count()
    files = count_files()

    for _ in range(100):
        with LoopThread() as thread:
            assert thread.run(asyncio.to_thread, int, "1") == 1

    assert threading.active_count() == before
    assert count_files() == files


def test_help_signature_and_completion_show_the_coroutine(service):
    assert str(inspect.signature(service.add)) == "(a: 'int', b: 'int' = 1) -> 'int'"
    assert str(inspect.signature(Service.add)) == "(self, a: 'int', b: 'int' = 1) -> 'int'"
    assert service.add.__doc__ == "Return the sum."
    assert "Return the sum." in pydoc.render_doc(service.add)
    assert "Return the sum." in pydoc.render_doc(Service)
    assert inspect.iscoroutinefunction(service.add.__wrapped__)
    assert inspect.iscoroutinefunction(service.add.aio)
    assert "add" in dir(service)


def test_doctests_of_decorated_methods_are_found():
    class Shown:
        @on_loop
        async def method(self) -> None:
            """Do nothing.

            >>> 1 + 1
            2
            """

    found = doctest.DocTestFinder().find(Shown, "Shown", module=False, globs={})

    assert [len(test.examples) for test in found if test.name == "Shown.method"] == [1]


def run_script(code: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "ignore", "-c", textwrap.dedent(code)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_forked_child_gets_a_clear_error_and_the_parent_stays_sane():
    done = run_script("""
        import os
        from ibkit.connection.loop import LoopThread
        from ibkit.errors import LoopThreadError
        async def one(): return 1
        loop = LoopThread()
        child = os.fork()
        if child == 0:
            try:
                loop.run(one)
            except LoopThreadError as error:
                print(error, flush=True)
            loop.close()
            raise SystemExit(0)
        print("child", os.waitpid(child, 0)[1], "parent", loop.run(one))
    """)

    assert "forked child" in done.stdout
    assert "child 0 parent 1" in done.stdout
    assert done.stderr == ""


def test_the_interpreter_exits_at_once_with_a_call_still_waiting():
    done = run_script("""
        import asyncio, threading
        from ibkit.connection.loop import LoopThread
        loop = LoopThread()
        started = threading.Event()
        async def wait():
            started.set()
            await asyncio.Event().wait()
        threading.Thread(target=loop.run, args=(wait,), daemon=True).start()
        started.wait()
    """)

    assert done.returncode == 0
    assert "Task was destroyed" not in done.stderr


def test_mypy_sees_the_signature_of_both_faces(tmp_path):
    source = tmp_path / "sample.py"
    source.write_text(
        textwrap.dedent("""
        from ibkit.connection.loop import LoopThread, on_loop
        class Service:
            def __init__(self, loop: LoopThread) -> None:
                self._loop = loop
            @on_loop
            async def add(self, a: int, *, b: int = 1) -> int:
                return a + b
        class Unfit:
            @on_loop
            async def add(self) -> int:
                return 1
        async def use(service: Service) -> None:
            reveal_type(service.add(1, b=2))
            reveal_type(await service.add.aio(1))
            service.add("1")
            service.add.aio(1, c=1)
            Unfit().add()
        """)
    )
    mypy = pytest.importorskip("mypy.api")
    out, _, _ = mypy.run(["--strict", "--cache-dir", str(tmp_path), str(source)])

    assert out.count('Revealed type is "builtins.int"') + out.count('Revealed type is "int"') == 2
    assert 'incompatible type "str"; expected "int"' in out
    assert 'Unexpected keyword argument "c"' in out
    assert "Unfit" in out
