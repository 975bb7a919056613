"""Codecs: what can be one, what they write and read, and what is said of a message that does not fit."""

from __future__ import annotations

import dataclasses
import datetime as dt
import functools
import json
import subprocess
import sys
from typing import Annotated, Literal

import msgpack
import pydantic
import pytest
from typing_extensions import TypedDict

from rxnodes import Codec, DecodeError, codecs
from rxnodes.codecs import as_codec, decode, encode, for_any_type


class Quote(pydantic.BaseModel):
    symbol: str
    bid: float = pydantic.Field(alias="b", ge=0)


class Ask(pydantic.BaseModel):
    id: int


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


class Entry(TypedDict):
    name: str


class Circle(pydantic.BaseModel):
    kind: Literal["circle"]
    radius: float


class Square(pydantic.BaseModel):
    kind: Literal["square"]
    side: float


Shape = pydantic.TypeAdapter(Annotated[Circle | Square, pydantic.Field(discriminator="kind")])
QUOTE = Quote(symbol="é", b=1.5)


@pytest.mark.parametrize(
    ("codec", "value", "message"),
    [
        ("json", {"a": [1, "é", None, True]}, '{"a":[1,"é",null,true]}'),
        ("msgpack", {"a": [1, b"\xff"]}, msgpack.packb({"a": [1, b"\xff"]})),
        (Quote, QUOTE, '{"symbol":"é","b":1.5}'),
        (Point, Point(1), '{"x":1,"y":0}'),
        (Entry, {"name": "x"}, '{"name":"x"}'),
        (list[int], [1, 2], "[1,2]"),
        (int | str, 7, "7"),
        (Annotated[int, pydantic.Field(gt=1)], 2, "2"),
        (Shape, Square(kind="square", side=2), '{"kind":"square","side":2.0}'),
        ((str, int), 7, "7"),
        ((json.dumps, json.loads), [1, 2], "[1, 2]"),
        (Codec(bytes.fromhex, bytes.hex), "00ff", b"\x00\xff"),
    ],
)
def test_a_value_goes_out_as_a_message_and_comes_back(codec, value, message):
    codec = as_codec(codec)
    assert encode(codec, value) == message
    assert decode(codec, message) == value


@pytest.mark.parametrize("codec", ["json", dict[str, str]])
def test_json_is_read_from_binary_messages_too(codec):
    assert decode(as_codec(codec), '{"a":"é"}'.encode()) == {"a": "é"}


@pytest.mark.parametrize(("codec", "read"), [("json", json.loads), ("msgpack", msgpack.unpackb)])
def test_models_dataclasses_and_dates_are_written_without_saying_of_what_type_they_are(codec, read):
    value = [QUOTE, Point(1, 2), dt.date(2024, 5, 17)]
    assert read(encode(as_codec(codec), value)) == [{"symbol": "é", "b": 1.5}, {"x": 1, "y": 2}, "2024-05-17"]


def test_what_accompanies_the_values_of_a_type_is_written_as_its_own_type_says():
    assert encode(for_any_type(as_codec(Quote)), {"ask": Ask(id=7)}) == '{"ask":{"id":7}}'
    for codec in ("json", "msgpack", (str, int)):
        assert for_any_type(as_codec(codec)) == as_codec(codec)


@pytest.mark.parametrize("codec", ["json", "msgpack", Quote, (str, int), Codec(str, int)])
def test_what_is_given_twice_is_one_codec(codec):
    assert as_codec(codec) == as_codec(codec)
    assert hash(as_codec(codec)) == hash(as_codec(codec))
    assert as_codec(as_codec(codec)) == as_codec(codec)


def test_codecs_of_different_types_differ():
    assert as_codec(Quote) != as_codec(Ask)


def test_they_have_names():
    assert [as_codec(codec).name for codec in ("json", "msgpack", Quote, int | str, (str, int))] == [
        "json",
        "msgpack",
        "Quote",
        "int | str",
        "custom",
    ]


# What is no codec


@pytest.mark.parametrize(
    "codec",
    [
        None,
        7,
        Point(1),
        json.loads,
        lambda message: message,
        functools.partial(json.loads),
        (str,),
        (str, int, str),
        (str, 7),
    ],
)
def test_what_is_no_codec_raises_at_once_and_says_what_is_one(codec):
    with pytest.raises(TypeError, match=r'a codec is "json", "msgpack", a type, a pair of functions'):
        as_codec(codec)


def test_a_type_that_pydantic_cannot_take_raises_at_once_with_its_reason():
    with pytest.raises(TypeError, match=r"no codec can be made of .*Unable to generate pydantic-core schema"):
        as_codec(pytest.Item)


def test_another_name_raises_at_once():
    with pytest.raises(ValueError, match=r"there is no codec 'jsn'; a codec is \"json\", \"msgpack\""):
        as_codec("jsn")


def test_msgpack_where_it_is_not_installed_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "msgpack", None)
    codecs._msgpack.cache_clear()
    with pytest.raises(ValueError, match=r'pip install "rxnodes\[msgpack\]"'):
        as_codec("msgpack")


# What does not fit


@pytest.mark.parametrize(
    ("codec", "message", "reason"),
    [
        ("json", "", "not JSON: Expecting value at line 1, column 1: '' (0 characters)"),
        ("json", "[1,\n2 3]", "not JSON: Expecting ',' delimiter at line 2, column 3: '[1,\\n2 3]' (8 characters)"),
        ("json", "[NaN]", "not JSON: NaN: '[NaN]' (5 characters)"),
        ("json", b"\xff", r"not UTF-8: invalid start byte at byte 0: b'\xff' (1 bytes)"),
        ("msgpack", b"\xc1", "b'\\xc1' (1 bytes)"),
        ("msgpack", "text", "a text message; MessagePack comes in binary ones: 'text' (4 characters)"),
        (Quote, '{"symbol":1}', "symbol: must be a valid string; b: Field required: '{\"symbol\":1}' (12 characters)"),
        (Quote, "nonsense", "Invalid JSON: expected ident at line 1 column 2: 'nonsense'"),
        (
            list[int],
            '["a","b","c","d","e"]',
            "2: must be a valid integer, unable to parse string as an integer; and 2 more",
        ),
        (Shape, '{"kind":"line"}', "'line'"),
        ((str, int), "seven", "invalid literal for int() with base 10: 'seven': 'seven' (5 characters)"),
        ((str, {}.__getitem__), "key", "KeyError: 'key': 'key' (3 characters)"),
        ((str, Quote.model_validate_json), "{}", "symbol: Field required; b: Field required: '{}' (2 characters)"),
    ],
)
def test_a_message_that_does_not_fit_says_why_and_shows_how_it_begins(codec, message, reason):
    with pytest.raises(DecodeError) as raised:
        decode(as_codec(codec), message)
    assert str(raised.value).startswith("a message does not fit: ")
    assert reason in str(raised.value)


@pytest.mark.parametrize("message", ["x" * 10_000, b"\xff" * 10_000, '{"symbol":"' + "x" * 10_000 + '","b":-}'])
@pytest.mark.parametrize("codec", ["json", "msgpack", Quote, (str, int), Shape])
def test_what_is_said_of_a_long_message_is_short(codec, message):
    with pytest.raises(DecodeError) as raised:
        decode(as_codec(codec), message)
    assert f"({len(message)} " in str(raised.value)
    assert len(str(raised.value)) < 800


def test_the_excerpt_is_the_beginning_and_nothing_that_could_break_a_line():
    with pytest.raises(DecodeError, match="characters") as raised:
        decode(as_codec("json"), "\n\x1b" * 100)
    assert str(raised.value).endswith("'" + r"\n\x1b" * 40 + "'... (200 characters)")
    assert "\n" not in str(raised.value)
    assert "\x1b" not in str(raised.value)


@pytest.mark.parametrize("codec", [Quote, "json"])
def test_no_chained_error_repeats_the_message(codec):
    with pytest.raises(DecodeError) as raised:
        decode(as_codec(codec), '{"symbol":["' + "x" * 100 + "SECRET")
    error = raised.value
    while error is not None:
        assert "SECRET" not in str(error)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def test_what_somebodys_function_raised_is_the_cause():
    with pytest.raises(DecodeError) as raised:
        decode(as_codec((str, {}.__getitem__)), "key")
    assert isinstance(raised.value.__cause__, KeyError)


@pytest.mark.parametrize(
    ("codec", "value", "reason"),
    [
        ("json", object(), "Unable to serialize unknown type: <class 'object'>"),
        ("json", float("nan"), "Out of range float values are not JSON compliant"),
        ("msgpack", object(), "Unable to serialize unknown type: <class 'object'>"),
        (Quote, {"symbol": "SECRET", "b": 1}, "must be Quote, not dict"),
        (Quote, Ask(id=1), "must be a valid dictionary or instance of Quote"),
        (Entry, {"op": "SECRET"}, "name: Field required"),
        (list[int], ["SECRET"], "0: must be a valid integer"),
        ((lambda value: value["key"], str), {}, "KeyError: 'key'"),
    ],
)
def test_what_cannot_be_written_says_why_and_does_not_repeat_it(codec, value, reason):
    with pytest.raises(ValueError, match="the message cannot be encoded") as raised:
        encode(as_codec(codec), value)
    assert reason in str(raised.value)
    assert "SECRET" not in str(raised.value)


def test_importing_it_imports_neither_pydantic_nor_msgpack():
    program = "import sys, rxnodes.codecs; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)  # noqa: S603
    assert not set(done.stdout.split()) & {"pydantic", "pydantic_core", "msgpack"}


def test_an_adapter_is_the_same_codec_wherever_it_is_given():
    adapter = pydantic.TypeAdapter(int | str)
    assert as_codec(adapter) == as_codec(adapter)
    assert as_codec(adapter) != as_codec(pydantic.TypeAdapter(int | str))
