"""A gateway for each module, and a kit for each test; a module that needs others has its own."""

import pytest

import ibkit
from ibkit.sim.testing import gateway


@pytest.fixture(scope="module")
def running():
    with gateway() as one:
        yield one


@pytest.fixture
def kit(running, tmp_path):
    with ibkit.connect(port=running.port, root=tmp_path / "sim") as one:
        yield one


@pytest.fixture
def asked(kit, monkeypatch):
    """Count what is asked."""
    names = []
    request = kit.link.request

    async def counted(name, *args, **kwargs):
        names.append(name)
        return await request(name, *args, **kwargs)

    monkeypatch.setattr(kit.link, "request", counted)
    return names
