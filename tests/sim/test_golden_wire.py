"""Every reply, as recorded or laid out by real gateways: our table, and both clients' decoders."""

from datetime import UTC
from pathlib import Path
from types import SimpleNamespace

import pytest
from ib_async.decoder import Decoder
from ibapi.decoder import Decoder as OfficialDecoder
from ibapi.wrapper import EWrapper

from ibkit.sim.wire import REPLIES, SERVER_VERSION
from ibkit.sim.wire.fields import UNSET_DOUBLE

LINES = [
    line
    for line in Path(__file__).with_name("golden_frames.txt").read_text().splitlines()
    if not line.startswith("#")
]
GOLDEN = [
    (*names.split("|"), [UNSET_DOUBLE if text == "U" else text for text in frame.split("|")])
    for names, frame in zip(LINES[::2], LINES[1::2], strict=True)
]


class Recorder:
    """Stands for a wrapper of ib_async, and remembers what was called."""

    defaultTimezone = UTC
    ib = SimpleNamespace(TimezoneTWS="")

    def __init__(self):
        self.calls = []

    def __getattr__(self, name):
        return lambda *_: self.calls.append(name)


class OfficialRecorder(EWrapper):
    def __init__(self):
        super().__init__()
        self.calls = []

    def __getattribute__(self, name):
        if name in EWrapper.__dict__ and not name.startswith("_"):
            return lambda *_: self.calls.append(name)
        return super().__getattribute__(name)


def parametrize():
    return pytest.mark.parametrize(
        ("name", "ours", "official", "fields"), GOLDEN, ids=[row[0] for row in GOLDEN]
    )


def test_every_reply_has_a_golden_frame():
    assert [row[0] for row in GOLDEN] == [REPLIES[number].name for number in sorted(REPLIES)]


@parametrize()
def test_the_table_reads_the_frame_and_writes_it_again(name, ours, official, fields):
    message = REPLIES[int(fields[0])]

    record = message.decode(fields, strict=True)
    again = message.fields(record)

    assert message.name == name
    assert [same(text) for text in again] == [same(text) for text in fields]


def same(text):
    """Return a text without the differences between 0, 0.0 and 229.30 that no client sees."""
    try:
        return float(text)
    except ValueError:
        return text


@parametrize()
def test_ib_async_understands_the_frame(name, ours, official, fields):
    recorder = Recorder()

    Decoder(recorder, SERVER_VERSION).interpret(fields)

    assert ours in recorder.calls


@parametrize()
def test_ibapi_understands_the_frame(name, ours, official, fields):
    recorder = OfficialRecorder()
    decoder = OfficialDecoder(recorder, SERVER_VERSION)
    raw = tuple(field.encode() for field in fields[1:])

    if official == "-":
        pytest.skip("this client no longer knows the message")
    decoder.interpret(raw, int(fields[0]))

    assert official in recorder.calls
