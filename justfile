# The whole list of commands; CI calls these very recipes.
export PATH := justfile_directory() / ".venv/bin:" + env("PATH")

# list the recipes
default:
    @just --list

# lint, format, types, import layers, spelling, packaging metadata
check:
    ruff check .
    ruff format --check .
    mypy
    lint-imports
    codespell ibkit docs README.md CHANGELOG.md
    validate-pyproject pyproject.toml

# unit and property tests, docstrings, README
test *args:
    pytest ibkit README.md tests/unit tests/property {{args}}

# everything that CI runs
all:
    python3 scripts/test.py

# more chaos: many seeds on virtual time
chaos seeds="1000":
    IBKIT_CHAOS_SEEDS={{seeds}} pytest tests/chaos

# the figures, against peers in the same run
bench topic="*":
    for file in bench/bench_{{topic}}.py; do python "$file"; done

# the main job on the simulated gateway
demo:
    ibkit demo

# a wheel that carries the curated notebooks, and the sdist, in dist/
release:
    rm -rf dist && python -m build

# the suite on the oldest versions that pyproject.toml admits, in an environment of its own
lowest:
    uv venv --clear .venv-lowest
    uv pip install --python .venv-lowest/bin/python --resolution lowest-direct -e '.[dev]'
    .venv-lowest/bin/python -m pytest -m "not browser"
