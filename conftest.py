"""What every test and every documented example stands on.

Data goes to a folder of the test run, never into the checkout; `kit` is connected to a
simulated gateway of the run's own, started when the first example needs it.
"""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any

import pytest
from _pytest.doctest import DoctestItem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session", autouse=True)
def hear_the_stop_button() -> None:
    """Heed SIGINT: a shell that starts the suite in the background makes it, and children, deaf."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def data_of_the_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Point IBKIT_DATA at a fresh folder; stop the gateway that a test may have left there."""
    data = tmp_path_factory.mktemp("data")
    patch = pytest.MonkeyPatch()
    patch.setenv("IBKIT_DATA", str(data))
    patch.setenv("XDG_STATE_HOME", str(data / "state"))  # the ledgers of the real gateways' ports
    yield data
    if (data / "sim" / "gateway").exists():
        from ibkit.sim import launch

        launch.stop(data / "sim")
    patch.undo()


@pytest.fixture(scope="session", autouse=True)
def main_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Keep one event loop for blocking ib_async calls of the main thread, and close it."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield loop
    asyncio.set_event_loop(None)
    loop.close()


@pytest.fixture(autouse=True)
def current_loop(main_loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Put the main thread's loop back, which `asyncio.run` takes away, and let it finish."""
    asyncio.set_event_loop(main_loop)
    yield
    try:
        asyncio.get_running_loop()  # playwright's, while its fixtures live
    except RuntimeError:
        main_loop.run_until_complete(asyncio.sleep(0))


@pytest.fixture(scope="session")
def example_kit(data_of_the_run: Path) -> Iterator[Any]:
    """Return the `kit` of the documented examples."""
    import ibkit

    with ibkit.connect(client_id=31) as kit:
        yield kit


@pytest.fixture(autouse=True)
def names_of_the_examples(
    request: pytest.FixtureRequest, doctest_namespace: dict[str, Any]
) -> Iterator[None]:
    """Give a documented example its `kit`, if it speaks of one."""
    item = request.node
    if isinstance(item, DoctestItem) and item.dtest is not None:
        sources = [example.source for example in item.dtest.examples]
        if any("kit." in source or "(kit" in source for source in sources) and not any(
            "connect(" in source for source in sources
        ):
            doctest_namespace["kit"] = request.getfixturevalue("example_kit")
    yield
    doctest_namespace.pop("kit", None)
