"""What `import ibkit` gives, and what it costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import ibkit


def test_the_public_names_are_these():
    assert ibkit.__all__ == [
        "Kit",
        "Offline",
        "Store",
        "connect",
        "errors",
        "load_settings",
        "offline",
        "plots",
        "reports",
        "run",
        "widgets",
    ]
    assert set(ibkit.__all__) <= set(dir(ibkit))


@pytest.mark.parametrize("name", ibkit.__all__)
def test_each_public_name_is_there(name):
    assert getattr(ibkit, name) is not None


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="nothing_of_ours"):
        _ = ibkit.nothing_of_ours


def test_importing_loads_no_other_library():
    code = "import sys, ibkit; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}

    assert "ibkit.kit" not in done.stdout
    assert not loaded & {"ib_async", "pandas", "numpy", "pyarrow", "pydantic", "structlog"}
