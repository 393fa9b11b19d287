"""A function of one instrument's bars, over many instruments, in several processes.

Workers are not forked from this process: a fork copies locks that other threads hold. On Linux
they are forked from a server of one thread that has imported us once, elsewhere spawned. Each opens
the store for itself, so what travels is a name out and a result back. An instrument that fails,
even one that takes its whole process with it, stops none of the others.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import sys
from collections.abc import Mapping as BaseMapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import pandas as pd

from ibkit.errors import StoreError, WorkerDiedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from concurrent.futures import Future


class Mapped(BaseMapping[str, Any]):
    """What `Store.map` found out, by instrument, in the order asked for.

    Attributes
    ----------
    results : dict
        Of those that succeeded.
    errors : dict of str to Exception
        Of those that failed; ``mapped["AAPL"]`` raises AAPL's.
    """

    def __init__(self, results: Mapping[str, Any], errors: Mapping[str, Exception]) -> None:
        self.results, self.errors = dict(results), dict(errors)

    def __getitem__(self, name: str) -> Any:
        if name in self.errors:
            raise self.errors[name]
        return self.results[name]

    def __iter__(self) -> Iterator[str]:
        """Iterate over those that succeeded."""
        return iter(self.results)

    def __len__(self) -> int:
        return len(self.results)

    def __repr__(self) -> str:
        return f"<Mapped {len(self.results)} results, {len(self.errors)} errors>"

    def frame(self) -> pd.DataFrame:
        """Return one row an instrument that succeeded; frames are stacked under its name."""
        if not self.results:
            return pd.DataFrame(index=pd.Index([], name="instrument"))
        values = list(self.results.values())
        if all(isinstance(value, pd.DataFrame) for value in values):
            found: pd.DataFrame = pd.concat(self.results, names=["instrument"])
            return found
        if all(isinstance(value, (dict, pd.Series)) for value in values):
            rows = [dict(value) for value in values]
        else:
            rows = [{"value": value} for value in values]
        return pd.DataFrame(rows, index=pd.Index(list(self.results), name="instrument"))


def run(
    store: Any,
    func: Callable[..., Any],
    names: Sequence[str],
    options: Mapping[str, Any],
    processes: int | None,
    *,
    progress: bool,
) -> Mapped:
    """Return ``func(store.bars(name, **options))`` for every name."""
    tasks = list(dict.fromkeys(names))
    payload = _packed(store, func, dict(options))
    count = min(processes or os.cpu_count() or 1, len(tasks)) or 1
    results: dict[str, Any] = {}
    errors: dict[str, Exception] = {}
    with _bar(len(tasks), progress=progress) as bar:
        undecided = _round(payload, tasks, count, results, errors, bar)
        for name in undecided:  # a process died with them: each alone, to see which one kills
            for _ in _round(payload, [name], 1, results, errors, bar):
                errors[name] = WorkerDiedError(name)
                bar.update()
    return Mapped(
        {name: results[name] for name in tasks if name in results},
        {name: errors[name] for name in tasks if name in errors},
    )


def _round(
    payload: bytes,
    names: Sequence[str],
    count: int,
    results: dict[str, Any],
    errors: dict[str, Exception],
    bar: Any,
) -> list[str]:
    """Work through `names`, and return those that a dying process left undecided."""
    undecided: list[str] = []
    told = {"mp_context": _context(), "initializer": _alone, "initargs": (dict(os.environ),)}
    with ProcessPoolExecutor(count, **told) as pool:
        try:
            futures: dict[Future[Any], str] = {
                pool.submit(_work, payload, name): name for name in names
            }
            for future in as_completed(futures):
                name = futures[future]
                try:
                    results[name] = future.result()
                except BrokenProcessPool:
                    undecided.append(name)
                    continue
                except Exception as error:  # noqa: BLE001 - whatever the user's function raises
                    errors[name] = error
                bar.update()
        except BrokenProcessPool:  # while tasks were handed in
            return [name for name in names if name not in results and name not in errors]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return undecided


def _context() -> Any:
    """Return how workers come to be; on Linux the imports, a second or more, are paid once."""
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["ibkit.store"])
    return context


def _bar(total: int, *, progress: bool) -> Any:
    from tqdm.auto import tqdm

    return tqdm(total=total, desc="map", unit="instrument", disable=not progress)


def _packed(store: Any, func: Any, options: dict[str, Any]) -> bytes:
    """Return the work as bytes; a function of a notebook's cell needs cloudpickle."""
    maker = (type(store), store.recipe(), func, options)
    main = sys.modules["__main__"]  # a script's is imported again over there, a notebook's is not
    by_name = getattr(func, "__module__", "") != "__main__" or hasattr(main, "__file__")
    try:
        import cloudpickle
    except ImportError:
        pass
    else:
        return bytes(cloudpickle.dumps(maker))
    try:
        content = pickle.dumps(maker)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise StoreError(_WORDS) from error
    if not by_name:
        raise StoreError(_WORDS)
    return content


_WORDS = (
    "the function cannot travel to other processes.\n"
    "Hint: put it into a module of its own and import it, or pip install cloudpickle, with which "
    "functions of a notebook's cells travel too."
)


def _alone(environment: dict[str, str]) -> None:
    """Take the parent's environment of now, and one thread: the processes are the parallelism."""
    import pyarrow as pa

    os.environ.clear()
    os.environ.update(environment)
    pa.set_cpu_count(1)


def _work(payload: bytes, name: str) -> Any:
    store, func, options = _opened(payload)
    return func(store.bars(name, **options))


@lru_cache(maxsize=1)
def _opened(payload: bytes) -> tuple[Any, Any, Any]:
    kind, recipe, func, options = pickle.loads(payload)  # noqa: S301 - made by our own parent
    return kind.remade(recipe), func, options
