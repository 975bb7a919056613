"""Codecs: what can be one, what they write and read, and what is said of a message that does not fit."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import functools
import json
import subprocess
import sys
import uuid
from typing import Annotated, Any, Generic, Literal, NotRequired, Optional, TypeVar

import msgpack
import pydantic
import pytest
from typing_extensions import TypedDict

from rxnodes import Codec, DecodeError
from rxnodes.codecs import AS_BYTES, AS_TEXT, as_codec, decode, encode, for_any_type, plain


class Quote(pydantic.BaseModel):
    symbol: str
    bid: float = pydantic.Field(alias="b", ge=0)


class Ask(pydantic.BaseModel):
    id: int


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


class Empty(pydantic.BaseModel):
    pass


class Entry(TypedDict):
    name: str


class Circle(pydantic.BaseModel):
    kind: Literal["circle"]
    radius: float


class Square(pydantic.BaseModel):
    kind: Literal["square"]
    side: float


class Level(enum.Enum):
    LOW = "low"
    HIGH = "high"


class Renamed(TypedDict):
    bid: Annotated[float, pydantic.Field(alias="b")]
    size: NotRequired[Annotated[int, pydantic.Field(alias="s")]]


class TwoNames(TypedDict):
    bid: Annotated[float, pydantic.Field(validation_alias="in", serialization_alias="out")]


class Area(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    side: int

    @pydantic.computed_field
    @property
    def area(self) -> int:
        return self.side**2


class Order(pydantic.BaseModel):
    """One that is only sent: what it writes, it does not read."""

    at: dt.datetime
    note: str = pydantic.Field(exclude=True)

    @pydantic.field_serializer("at")
    def write(self, at: dt.datetime) -> str:
        return f"on {at:%d.%m.%Y}"


class DetailedQuote(Quote):
    venue: str


V = TypeVar("V")


class Envelope(pydantic.BaseModel, Generic[V]):
    data: V


Hexadecimal = Annotated[
    int, pydantic.BeforeValidator(lambda text: int(text, 16)), pydantic.PlainSerializer(hex, return_type=str)
]
Shape = pydantic.TypeAdapter(Annotated[Circle | Square, pydantic.Field(discriminator="kind")])
QUOTE = Quote(symbol="é", b=1.5)
NOON = dt.datetime(2024, 5, 17, 12, tzinfo=dt.UTC)


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
        (str, "é", "é"),
        (bytes, b"\xff", b"\xff"),
        ((str, int), 7, "7"),
        ((json.dumps, json.loads), [1, 2], "[1, 2]"),
        (Codec(bytes.fromhex, bytes.hex), "00ff", b"\x00\xff"),
        # Types whose input has another form.
        (Renamed, {"bid": 1.5}, '{"b":1.5}'),
        (list[Renamed], [{"bid": 1.5, "size": 2}], '[{"b":1.5,"s":2}]'),
        (pydantic.Base64Bytes, b"hello", '"aGVsbG8="'),
        (dict[str, pydantic.Base64Bytes], {"a": b"hello"}, '{"a":"aGVsbG8="}'),
        (Hexadecimal, 255, '"0xff"'),
        (list[Hexadecimal], [255, 1], '["0xff","0x1"]'),
        (Level, Level.LOW, '"low"'),
        (dict[Level, int], {Level.LOW: 1}, '{"low":1}'),
        (Quote | None, None, "null"),
        (Envelope[int], Envelope[int](data=1), '{"data":1}'),
        (Envelope[Quote], Envelope[Quote](data=QUOTE), '{"data":{"symbol":"é","b":1.5}}'),
        (tuple[int, str], (1, "NaN"), '[1,"NaN"]'),
        (dict[str, Any], {"Infinity": None, "NaN": ["NaN"]}, '{"Infinity":null,"NaN":["NaN"]}'),
        (pydantic.TypeAdapter(dt.timedelta, config={"ser_json_timedelta": "float"}), dt.timedelta(seconds=2), "2.0"),
    ],
)
def test_a_value_goes_out_as_a_message_and_comes_back(codec, value, message):
    codec = as_codec(codec)
    assert encode(codec, value) == message
    assert decode(codec, message) == value


@pytest.mark.parametrize(
    ("codec", "value", "message"),
    [
        (Area, Area(side=2), '{"side":2,"area":4}'),
        (list[Area], [Area(side=2)], '[{"side":2,"area":4}]'),
        (pydantic.Json[list[int]], [1, 2], "[1,2]"),
        (TwoNames, {"bid": 1.5}, '{"out":1.5}'),
        (Order, Order(at=NOON, note="x"), '{"at":"on 17.05.2024"}'),
        (list[Order], [Order(at=NOON, note="x")], '[{"at":"on 17.05.2024"}]'),
        (Quote, DetailedQuote(symbol="é", b=1.5, venue="x"), '{"symbol":"é","b":1.5}'),
        (float, float("nan"), "null"),
        (Envelope[int], Envelope(data=1), '{"data":1}'),
        (Codec(bytearray, bytes), b"ab", b"ab"),
        (Codec(memoryview, bytes), b"ab", b"ab"),
    ],
)
def test_what_is_written_need_not_be_readable_where_the_value_is_of_the_type(codec, value, message):
    assert encode(as_codec(codec), value) == message


def test_str_and_bytes_are_the_raw_forms_and_not_json():
    assert as_codec(str) is AS_TEXT
    assert as_codec(bytes) is AS_BYTES
    assert decode(AS_TEXT, "é".encode()) == "é"
    assert decode(AS_BYTES, "é") == encode(AS_BYTES, "é") == "é".encode()
    assert encode(AS_BYTES, bytearray(b"a")) == encode(AS_BYTES, memoryview(b"a")) == b"a"
    assert encode(as_codec(pydantic.TypeAdapter(str)), "é") == '"é"'


@pytest.mark.parametrize("codec", ["json", dict[str, str]])
def test_json_is_read_from_binary_messages_too(codec):
    assert decode(as_codec(codec), '{"a":"é"}'.encode()) == {"a": "é"}


@pytest.mark.parametrize(("codec", "read"), [("json", json.loads), ("msgpack", msgpack.unpackb)])
def test_models_dataclasses_and_dates_are_written_without_saying_of_what_type_they_are(codec, read):
    value = [QUOTE, Point(1, 2), dt.date(2024, 5, 17)]
    assert read(encode(as_codec(codec), value)) == [{"symbol": "é", "b": 1.5}, {"x": 1, "y": 2}, "2024-05-17"]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({dt.date(2024, 5, 17): Point(1)}, '{"2024-05-17":{"x":1,"y":0}}'),
        (
            [{Level.LOW: {uuid.UUID(int=0): QUOTE}}],
            '[{"low":{"00000000-0000-0000-0000-000000000000":{"symbol":"é","b":1.5}}}]',
        ),
    ],
)
def test_keys_too_are_written_as_their_own_type_says(value, message):
    assert encode(as_codec("json"), value) == message
    assert msgpack.unpackb(encode(as_codec("msgpack"), value)) == json.loads(message)


def test_of_keys_that_are_no_text_a_peer_of_msgpack_may_send_none():
    codec = as_codec("msgpack")
    with pytest.raises(DecodeError, match="int is not allowed for map key"):
        decode(codec, encode(codec, {1: "a"}))
    tolerant = as_codec((msgpack.packb, functools.partial(msgpack.unpackb, strict_map_key=False)))
    assert decode(tolerant, encode(tolerant, {1: "a"})) == {1: "a"}


def test_what_accompanies_the_values_of_a_type_is_written_as_its_own_type_says():
    assert encode(for_any_type(as_codec(Quote)), {"ask": Ask(id=7)}) == '{"ask":{"id":7}}'
    for codec in ("json", "msgpack", (str, int)):
        assert for_any_type(as_codec(codec)) == as_codec(codec)


@pytest.mark.parametrize(
    "codec", ["json", "msgpack", Quote, (str, int), Codec(str, int), pydantic.TypeAdapter(int | str)]
)
def test_what_is_given_twice_is_one_codec(codec):
    assert as_codec(codec) == as_codec(codec)
    assert hash(as_codec(codec)) == hash(as_codec(codec))
    assert as_codec(as_codec(codec)) == as_codec(codec)


@pytest.mark.parametrize(("one", "other"), [(Quote, Ask), (pydantic.TypeAdapter(int), pydantic.TypeAdapter(int))])
def test_codecs_of_different_types_and_adapters_differ(one, other):
    assert as_codec(one) != as_codec(other)


@pytest.mark.parametrize(
    ("codec", "name"),
    [
        ("json", "json"),
        ("msgpack", "msgpack"),
        (Quote, "Quote"),
        (list[int], "list[int]"),
        (dict[str, list[Quote]], "dict[str, list[Quote]]"),
        (int | str, "int | str"),
        (Optional[Quote], "Quote | None"),  # noqa: UP045 - the older form is taken too
        (Literal["a", 1], "Literal['a', 1]"),
        (Annotated[list[int], pydantic.Field(min_length=1)], "list[int]"),
        (Envelope[int], "Envelope[int]"),
        (Any, "Any"),
        (pydantic.TypeAdapter(list[int]), "list[int]"),
        (Shape, "Circle | Square"),
        ((str, int), "custom"),
    ],
)
def test_they_have_names(codec, name):
    assert as_codec(codec).name == name


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
        print,
        [str, str],
        b"json",
        json,
    ],
)
def test_what_is_no_codec_raises_at_once_and_says_what_is_one(codec):
    with pytest.raises(TypeError, match=r'a codec is "json", "msgpack", a type, a pair of functions'):
        as_codec(codec)


@dataclasses.dataclass
class Login:
    token: str = "SECRET"  # noqa: S105 - such as must not be repeated

    def __call__(self, message):
        return message


@pytest.mark.parametrize(
    "value", [Login(), Quote(symbol="SECRET", b=1), {"password": "SECRET"}, ("SECRET", str), (Login(), str), b"SECRET"]
)
def test_what_is_no_codec_is_not_repeated(value):
    with pytest.raises(TypeError) as raised:
        as_codec(value)
    assert "SECRET" not in str(raised.value)


@pytest.mark.parametrize(
    ("codec", "error", "reason"),
    [
        (QUOTE, TypeError, "expected a codec, got Quote"),
        (list["Nope"], TypeError, "no codec can be made of .*name 'Nope' is not defined"),  # noqa: F821 - on purpose
        (pydantic.TypeAdapter(list["Nope"]), TypeError, "no codec can be made of .*name 'Nope' is not defined"),  # noqa: F821
        (pytest.Item, TypeError, "no codec can be made of .*Unable to generate pydantic-core schema"),
        ((Login(), str), TypeError, "encode must be hashable, and this Login is not"),
        ((str, Login()), TypeError, "decode must be hashable, and this Login is not"),
        ("jsn", ValueError, r"there is no codec 'jsn'; a codec is \"json\", \"msgpack\""),
    ],
)
def test_what_is_no_codec_raises_with_the_reason(codec, error, reason):
    with pytest.raises(error, match=reason):
        as_codec(codec)


@pytest.mark.parametrize("functions", [(str, 5), ("json", str), (None, None)])
def test_a_codec_is_made_of_functions(functions):
    with pytest.raises(TypeError, match=r"(encode|decode) must be a function, not"):
        Codec(*functions)


def test_msgpack_where_it_is_not_installed_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "msgpack", None)
    plain.msgpack.cache_clear()
    with pytest.raises(ValueError, match=r'pip install "rxnodes\[msgpack\]"'):
        as_codec("msgpack")


# What does not fit


class Unspeakable:
    """A function that raises what cannot be said."""

    def __init__(self, kind=Exception):
        class UnspeakableError(kind):
            def __str__(self):
                raise RuntimeError("no text")

        self.error = UnspeakableError

    def __call__(self, _):
        raise self.error


def one_line(_):
    raise ValueError("two\nlines")


class Checked(pydantic.BaseModel):
    value: Annotated[int, pydantic.AfterValidator(Unspeakable(ValueError))]


@pytest.mark.parametrize(
    ("codec", "message", "reason"),
    [
        ("json", "", "JSON: Expecting value at line 1, column 1: '' (0 characters)"),
        ("json", "[1,\n2 3]", "JSON: Expecting ',' delimiter at line 2, column 3: '[1,\\n2 3]' (8 characters)"),
        ("json", "[NaN]", "JSON: NaN is no JSON: '[NaN]' (5 characters)"),
        ("json", b"\xff", r"JSON: not UTF-8: invalid start byte at byte 0: b'\xff' (1 bytes)"),
        ("msgpack", b"\xc1", "msgpack: FormatError: b'\\xc1' (1 bytes)"),
        ("msgpack", b"\x91" * 2000, "msgpack: StackError: b'"),
        ("msgpack", "text", "a text message; MessagePack comes in binary ones: 'text' (4 characters)"),
        (
            Quote,
            '{"symbol":1}',
            "Quote: symbol: must be a valid string; b: Field required: '{\"symbol\":1}' (12 characters)",
        ),
        (Quote, "nonsense", "Invalid JSON: expected ident at line 1 column 2: 'nonsense'"),
        (
            list[int],
            '["a","b","c","d","e"]',
            "list[int]: 0: must be a valid integer, unable to parse string as an integer; 1: must be",
        ),
        (
            list[int],
            '["a","b","c","d","e"]',
            "2: must be a valid integer, unable to parse string as an integer; and 2 more",
        ),
        (Shape, '{"kind":"line"}', "Circle | Square: Input tag 'line' found"),
        (float, "NaN", "float: NaN is no JSON: 'NaN' (3 characters)"),
        (Any, b"[-Infinity]", "Any: -Infinity is no JSON: b'[-Infinity]'"),
        (Quote, '{"symbol":"NaN","b":Infinity}', "Quote: Infinity is no JSON"),
        (str, b"\xff", r"str: not UTF-8: invalid start byte at byte 0: b'\xff' (1 bytes)"),
        (dict[str, int], '{"a\\n\\u001b[2Jb":"x"}', r"dict[str, int]: a\n\x1b[2Jb: must be a valid integer"),
        (dict[str, int], '{"' + "k" * 1000 + '":"x"}', "k" * 60 + "...: must be a valid integer"),
        ((str, Unspeakable()), "x", "the custom codec: UnspeakableError: 'x' (1 characters)"),
        ((str, Unspeakable(ValueError)), "x", "the custom codec: UnspeakableError: 'x' (1 characters)"),
        ((str, one_line), "x", r"the custom codec: two\nlines: 'x' (1 characters)"),
        (Codec(str, int, "digits"), "x", "digits: invalid literal"),
        ((str, int), "seven", "invalid literal for int() with base 10: 'seven': 'seven' (5 characters)"),
        ((str, {}.__getitem__), "key", "KeyError: 'key': 'key' (3 characters)"),
        ((str, Quote.model_validate_json), "{}", "symbol: Field required; b: Field required: '{}' (2 characters)"),
    ],
)
def test_a_message_that_does_not_fit_says_why_and_shows_how_it_begins(codec, message, reason):
    with pytest.raises(DecodeError) as raised:
        decode(as_codec(codec), message)
    assert str(raised.value).startswith("a message does not fit ")
    assert reason in str(raised.value)
    assert str(raised.value).isprintable()


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


@pytest.mark.parametrize("codec", ["json", list[int], Quote])
def test_what_does_not_fit_is_kept_alive_by_no_chained_error(codec):
    with pytest.raises(DecodeError) as raised:
        decode(as_codec(codec), "no" * 1000)
    assert raised.value.__cause__ is None
    assert raised.value.__context__ is None


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
        (Quote, {"symbol": "SECRET", "b": 1}, "with Quote: must be Quote, not dict"),
        (Quote, Ask(id=1), "with Quote: must be Quote, not Ask"),
        (Point, Quote(symbol="SECRET", b=1), "must be Point, not Quote"),
        (Empty, QUOTE, "with Empty: must be Empty, not Quote"),
        (Envelope[int], QUOTE, "must be Envelope, not Quote"),
        (list[int], ["SECRET"], "must be int, not str"),
        (Level, "low", "must be enum, not str"),
        (str, b"SECRET", "with str: expected str, got bytes"),
        (bytes, 7, "with bytes: expected bytes or str, got int"),
        (bytes, "SECRET\ud800", "with bytes: an unpaired surrogate"),
        ((lambda value: value["key"], str), {}, "with the custom codec: KeyError: 'key'"),
        ((Unspeakable(), str), 1, "with the custom codec: UnspeakableError"),
        ((one_line, str), 1, r"with the custom codec: two\nlines"),
        ((lambda value: {"a": value}, str), 1, "with the custom codec: its encode gave dict, not str or bytes"),
        (Codec(lambda value: None, str, "shouting"), 1, "with shouting: its encode gave NoneType, not str or bytes"),
    ],
)
def test_what_cannot_be_written_says_why_and_does_not_repeat_it(codec, value, reason):
    with pytest.raises(ValueError, match="the message cannot be encoded") as raised:
        encode(as_codec(codec), value)
    assert reason in str(raised.value)
    assert "SECRET" not in str(raised.value)


def test_what_a_validator_raises_may_be_unspeakable():
    with pytest.raises(DecodeError, match=r"^a message does not fit Checked: RuntimeError: no text: '"):
        decode(as_codec(Checked), '{"value":1}')


def test_importing_it_imports_neither_pydantic_nor_msgpack():
    program = "import sys, rxnodes.codecs; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)  # noqa: S603
    assert not set(done.stdout.split()) & {"pydantic", "pydantic_core", "msgpack"}


@pytest.mark.parametrize("as_bytes", [False, True])
@pytest.mark.parametrize("number", ["1e400", "-1.5e309", "1" + "0" * 308 + ".5e1", "9" * 310 + ".0"])
@pytest.mark.parametrize("text", ["{}", "[0,{}]", '{{"a":{}}}'])
def test_json_refuses_a_number_that_is_too_large_for_a_float(as_bytes, number, text):
    message = text.format(number)
    with pytest.raises(DecodeError, match=r"is too large a number"):
        decode(as_codec("json"), message.encode() if as_bytes else message)
    assert decode(as_codec("json"), f'"{number}"') == number


@pytest.mark.parametrize("codec", ["json", list | dict | str | float])
@pytest.mark.parametrize("as_bytes", [False, True])
@pytest.mark.parametrize("value", ["NaN", ["Infinity", 1.5], {"-Infinity": None}])
def test_names_that_are_no_json_may_stand_in_strings(codec, as_bytes, value):
    message = encode(as_codec("json"), value)
    assert decode(as_codec(codec), message.encode() if as_bytes else message) == value
