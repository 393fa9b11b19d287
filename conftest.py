"""What every test and every documented example stands on.

Data goes to a folder of the test run, never into the checkout; `kit` is connected to a
simulated gateway of the run's own, started when the first example needs it.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from _pytest.doctest import DoctestItem

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session", autouse=True)
def data_of_the_run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Point IBKIT_DATA at a fresh folder; stop the gateway that a test may have left there."""
    data = tmp_path_factory.mktemp("data")
    patch = pytest.MonkeyPatch()
    patch.setenv("IBKIT_DATA", str(data))
    yield data
    if (data / "sim" / "gateway").exists():
        from ibkit.sim import launch

        launch.stop(data / "sim")
    patch.undo()


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
        if any("kit." in source for source in sources) and not any(
            "connect(" in source for source in sources
        ):
            doctest_namespace["kit"] = request.getfixturevalue("example_kit")
    yield
    doctest_namespace.pop("kit", None)


def pytest_configure(config: pytest.Config) -> None:
    """Keep kernels and helpers of the run away from the user's own Jupyter folders' state."""
    os.environ.setdefault("JUPYTER_PLATFORM_DIRS", "1")
