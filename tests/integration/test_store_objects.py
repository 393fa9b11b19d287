"""A store in a bucket keeps the promises of one in a folder, against an S3 server on loopback.

The server is moto, in a process of its own. It holds If-Match and If-None-Match; its bucket
``deaf`` never hears of them, like the endpoints that ignore what they do not know.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from urllib.request import Request, urlopen

import numpy as np
import pandas as pd
import pytest

from ibkit import cli
from ibkit.errors import (
    ConditionsIgnoredError,
    CorruptFileError,
    PrunedError,
    RoleError,
    StoreAccessError,
    StoreBusyError,
    TamperedFileError,
)
from ibkit.store import Store
from ibkit.store import table as engine
from ibkit.store.crypto import Keys

SERVER = """
import logging, sys
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server
logging.getLogger("werkzeug").setLevel(logging.ERROR)
moto = DomainDispatcherApplication(create_backend_app)
def app(environ, answer):
    if environ["PATH_INFO"].startswith("/deaf/"):
        environ.pop("HTTP_IF_MATCH", None), environ.pop("HTTP_IF_NONE_MATCH", None)
    return moto(environ, answer)
server = make_server("127.0.0.1", 0, app, threaded=True)
print(server.server_port, flush=True)
server.serve_forever()
"""

# overlapping spans, each write with a number of its own; prints what was acknowledged
WRITER = """
import json, random, sys
import pandas as pd
from ibkit import clock
from ibkit.store import Store
url, options = sys.argv[1], json.loads(sys.argv[2])
writer, count = int(sys.argv[3]), int(sys.argv[4])
start = pd.Timestamp("2026-10-31 23:30", tz="UTC")
dice, store = random.Random(writer), Store(url, options=options)
for n in range(count):
    number = float(writer * 10_000 + n + 1)
    first = dice.randrange(50)
    end = first + dice.randrange(1, 11)
    index = pd.date_range(start + pd.Timedelta(minutes=first), periods=end - first, freq="min")
    bars = pd.DataFrame(dict.fromkeys(("open", "high", "low", "close"), number), index=index)
    began = clock.monotonic()
    store.write_bars("AAPL", "1 min", bars, span=(index[0], index[-1] + pd.Timedelta(minutes=1)))
    print(int(number), first, end, began, clock.monotonic(), flush=True)
"""


@pytest.fixture(scope="module")
def options():
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        port = int(process.stdout.readline())
        found = {
            "endpoint": f"http://127.0.0.1:{port}",
            "region": "us-east-1",
            "access_key_id": "test",
            "secret_access_key": "test",
        }
        credential = "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, "
        head = {"Authorization": credential + "SignedHeaders=host, Signature=0"}
        for bucket in ("bars", "deaf"):
            urlopen(Request(f"{found['endpoint']}/{bucket}", method="PUT", headers=head)).close()
        yield found
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.fixture
def url(request):
    return f"s3://bars/{request.node.name.replace('[', '-').replace(']', '')}"


@pytest.fixture
def store(url, options):
    return Store(url, options=options)


def bars(start="2026-10-31 23:30", n=60, close=100.0):
    index = pd.date_range(start, periods=n, freq="min", tz="UTC", name="ts", unit="us")
    prices = np.full(n, close)
    return pd.DataFrame(dict.fromkeys(("open", "high", "low", "close"), prices), index=index)


def test_the_api_of_a_folder_is_that_of_a_bucket(store, url, options):
    frame = bars()
    span = (frame.index[0], frame.index[-1] + pd.Timedelta(minutes=1))
    assert store.write_bars("AAPL", "1 min", frame, span=span).rows_added == 60
    assert store.write_bars("AAPL", "1 min", frame, span=span).operation == "none"
    other = Store(url, options=options, role="reader")

    back = other.bars("AAPL", "1 min")
    assert back["close"].tolist() == frame["close"].tolist()
    assert back.index.equals(frame.index)
    assert other.missing("AAPL", "1 min", *span) == []
    assert other.coverage()[["rows", "files"]].to_numpy().tolist() == [[60, 2]]
    assert other.sql("select count(*) from bars_1min").fetchall() == [(60,)]
    assert len(other.verify()) == 0
    assert (other.kind, other.datasets()) == ("real", ["bars_1min"])

    store.replace_range(
        "bars_1min",
        "AAPL",
        bars(n=1, close=7.0),
        *span,
        source="IB",
        series={"what_to_show": "TRADES", "use_rth": True},
    )
    assert other.bars("AAPL", "1 min")["close"].tolist() == [7.0]
    assert other.history("bars_1min", "AAPL")["operation"].tolist() == ["upsert", "replace_range"]


def test_the_past_and_its_upkeep_are_those_of_a_folder(store, url, options, tmp_path):
    store.write_bars("AAPL", "1 min", bars())
    first = store.history("bars_1min", "AAPL")["commit_id"].iloc[-1]
    feed = store.changes()
    store.write_bars("AAPL", "1 min", bars(n=30, close=7.0))
    store.write_bars("MSFT", "1 day", bars("2026-10-30", n=1))

    then = store.as_of(first)
    assert set(then.bars("AAPL", "1 min")["close"]) == {100.0}
    assert then.sql("select max(close), min(close) from bars_1min").fetchall() == [(100.0, 100.0)]
    news = store.changes(feed.attrs["cursor"])
    assert news[["dataset", "instrument"]].to_numpy().tolist() == [
        ["bars_1min", "STK-AAPL-SMART-USD"],
        ["bars_1day", "STK-MSFT-SMART-USD"],
    ]
    assert store.coverage()[["dataset", "rows"]].to_numpy().tolist() == [
        ["bars_1min", 60],
        ["bars_1day", 1],
    ]
    assert len(store.quality("bars_1min")) == 1
    assert len(store.compact()) == 0  # nothing streams into a bucket
    assert store.scan("bars_1min").collect()["close"].min() == 7.0
    mapped = store.map(len, ["AAPL"], processes=1, progress=False)
    assert dict(mapped) == {"AAPL": 60}
    done = store.export("bars_1min", tmp_path / "x.parquet")
    assert done["rows"].tolist() == [60]
    again = store.import_rows("bars_1min", tmp_path / "x.parquet")
    assert again[["rows_in", "rows_changed"]].to_numpy().tolist() == [[60, 0]]

    gone = store.prune(older_than=pd.Timedelta(0), keep=0)
    assert gone["period"].tolist() == ["month=2026-10"]
    with pytest.raises(PrunedError):
        store.as_of(first).bars("AAPL", "1 min")
    assert set(store.bars("AAPL", "1 min")["close"]) == {7.0, 100.0}
    assert len(store.verify()) == 0


def test_damage_in_a_bucket_is_found_and_mended_as_in_a_folder(store):
    store.write_bars("AAPL", "1 min", bars())
    medium, table = store._place.medium, store._table("bars_1min")
    first, second = (
        table.part("STK-AAPL-SMART-USD", code) for code in table.stored("STK-AAPL-SMART-USD")
    )
    medium.remove(first)
    medium.create(first, b"PAR1 no more", tmp=first)
    medium.create(second.with_name("stray.parquet"), b"x", tmp=second)

    problems = store.verify()
    assert [name.startswith("s3://bars/") for name in problems["file"]] == [True, True]
    with pytest.raises(CorruptFileError, match="s3://bars/"):
        store.bars("AAPL", "1 min")
    mended = store.verify(repair=True)

    assert mended["repair"].str.startswith("set aside as s3://bars/").all()
    assert len(store.bars("AAPL", "1 min")) == 30  # of the month that was whole
    assert len(store.verify()) == 0


def test_the_settings_and_the_command_line_reach_a_bucket(
    store, url, options, tmp_path, monkeypatch, capsys
):
    store.write_bars("AAPL", "1 min", bars())
    lines = [f'{name} = "{value}"' for name, value in options.items() if "key" not in name]
    text = f'[store]\nurl = "{url}"\naudit = "all"\n[store.options]\n' + "\n".join(lines)
    (tmp_path / "ibkit.toml").write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    (tmp_path / "x.csv").write_text("ts,open,high,low,close\n2026-11-20,1,2,1,2\n")

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["ibkit", *words, "--profile", "paper"])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code or 0, capsys.readouterr().out

    load = ("import", "AAPL", "x.csv", "--source", "test", "--zone", "UTC")
    assert call("store", *load)[0] == 0
    for words, said in (
        (("store", "ls"), "bars_1day  STK-AAPL-SMART-USD"),
        (("store", "coverage"), "2026-11-20 00:00:00"),
        (("store", "history", "bars_1day", "AAPL"), "upsert"),
        (("store", "verify"), "every file reads back"),
        (("store", "audit-log"), "STK-AAPL-SMART-USD"),
        (("store", "export", "bars_1day", str(tmp_path / "y.csv")), "y.csv"),
        (("status",), f"{url}/paper: 1 series, 1 rows"),
    ):
        code, out = call(*words)
        assert (code, said in out) == (0, True), (words, out)
    code, out = call("store", "share", "readers", "--profile", "paper")
    assert code == 1
    assert not (tmp_path / "data").exists()


def test_a_name_with_a_percent_sign_comes_back_as_it_went(store):
    store.write_bars("CASH:EURUSD", "1 min", bars())
    slug = "STK-BRK%20B-SMART-USD"
    store.write_bars(slug, "1 min", bars(close=3.0))

    assert store.bars(slug, "1 min")["close"].iloc[0] == 3.0
    assert slug in store.instruments("bars_1min")


def test_what_another_writer_put_in_between_is_not_lost(store, url, options, monkeypatch):
    store.write_bars("AAPL", "1 min", bars(n=10))
    other, real, times = Store(url, options=options), engine.merge.upsert, []

    def between(*arguments):
        if not times:  # after we read, before we put
            times.append(1)
            other.write_bars("AAPL", "1 min", bars("2026-10-31 23:40", n=10, close=2.0))
        return real(*arguments)

    monkeypatch.setattr(engine.merge, "upsert", between)
    store.write_bars("AAPL", "1 min", bars("2026-10-31 23:35", n=10, close=3.0))

    closes = store.bars("AAPL", "1 min")["close"].tolist()
    assert closes == [100.0] * 5 + [3.0] * 10 + [2.0] * 5
    assert len(store.history("bars_1min", "AAPL")) == 3
    assert len(store.verify()) == 0


def test_a_writer_that_never_gets_through_says_so(store, url, options, monkeypatch):
    store.write_bars("AAPL", "1 min", bars(n=10))
    other, real, depth = Store(url, options=options), engine.merge.upsert, []

    def between(*arguments):
        if not depth:
            depth.append(1)
            other.write_bars("AAPL", "1 min", bars(n=1, close=50.0 + len(done)))
            done.append(1)
            depth.clear()
        return real(*arguments)

    done = []
    monkeypatch.setattr(engine.merge, "upsert", between)
    monkeypatch.setattr(engine, "LOCK_TIMEOUT_S", 0.0)
    with pytest.raises(StoreBusyError, match="s3://bars/"):
        store.write_bars("AAPL", "1 min", bars("2026-10-31 23:35", n=10, close=3.0))


def test_four_writers_lose_nothing(url, options):
    spec = importlib.util.spec_from_file_location(
        "processes", Path(__file__).with_name("test_store_processes.py")
    )
    processes = importlib.util.module_from_spec(spec)
    sys.modules["processes"] = processes  # its dataclass looks itself up
    spec.loader.exec_module(processes)
    command = [sys.executable, "-c", WRITER, url, json.dumps(options)]
    writers = [
        subprocess.Popen([*command, str(n), "8"], stdout=subprocess.PIPE, text=True)
        for n in range(1, 5)
    ]

    answers = [writer.communicate()[0].splitlines() for writer in writers]

    assert [writer.returncode for writer in writers] == [0] * 4
    acks = [processes.ack(line) for lines in answers for line in lines]
    assert len(acks) == 32
    store = Store(url, options=options)
    assert processes.wrong_rows(processes.survivors(store), acks) == []
    assert len(store.verify()) == 0
    log = store.history("bars_1min", "AAPL")
    assert len(log) == 32
    assert log["commit_id"].is_monotonic_increasing


def test_an_endpoint_that_ignores_conditions_is_refused_for_writing(options):
    with pytest.raises(ConditionsIgnoredError, match=r"If-None-Match: \* and If-Match"):
        Store("s3://deaf/store", options=options)

    alone = Store("s3://deaf/store", options=options, writers="one")
    alone.write_bars("AAPL", "1 min", bars())
    reader = Store("s3://deaf/store", options=options, role="reader")
    assert len(reader.bars("AAPL", "1 min")) == 60
    with pytest.raises(RoleError):
        reader.write_bars("AAPL", "1 min", bars())


def test_what_a_bucket_cannot_do_is_told(store, options, tmp_path):
    with pytest.raises(StoreAccessError, match="a stream is appended to a folder"):
        store.appender("bars_5secs", "AAPL", source="IB")
    with pytest.raises(StoreAccessError, match="a bucket has no modes"):
        store.share("readers")
    with pytest.raises(ValueError, match="options are for a root in a bucket"):
        Store(tmp_path, options=options)
    with pytest.raises(StoreAccessError, match="s3://bars/x"):
        Store("s3://bars/x", options={**options, "no_such_option": "1"})
    with pytest.raises(StoreAccessError, match="s3://nowhere/"):
        Store("s3://nowhere/x", options=options)


def test_an_endpoint_that_does_not_answer_is_named(options):
    away = {**options, "endpoint": "http://127.0.0.1:9", "retry_config": {"max_retries": 0}}

    with pytest.raises(StoreAccessError, match="s3://bars/away"):
        Store("s3://bars/away", options=away)


def test_a_bucket_is_encrypted_like_a_folder(url, options, tmp_path):
    store = Store(url, options=options, keys=Keys(tmp_path / "keys", keyring=False))
    store.write_bars("AAPL", "1 min", bars())

    store.encrypt("bars_1min")
    store.rotate_key("bars_1min")

    assert len(store.bars("AAPL", "1 min")) == 60
    assert len(store.verify()) == 0
    medium = store._place.medium
    parts = [path for path in medium.below(store._paths.root / "data") if path.suffix == ".parquet"]
    assert {medium.read(path, "")[:4] for path in parts} == {b"PARE"}
    content = bytearray(medium.read(parts[0], ""))
    content[-40] ^= 1  # in the footer
    medium.remove(parts[0])
    medium.create(parts[0], bytes(content), tmp=parts[0])
    with pytest.raises(TamperedFileError, match="s3://bars/"):
        store.bars("AAPL", "1 min")
