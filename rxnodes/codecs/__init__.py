"""Codecs: they write values as messages, and read values from messages.

pydantic and msgpack are imported when they are first needed, so that importing this package costs nothing.
"""

from typing import TYPE_CHECKING

from rxnodes.codecs.codec import Codec, TypedCodec, decode, encode
from rxnodes.codecs.plain import AS_BYTES, AS_TEXT
from rxnodes.codecs.short_forms import CODEC_NAMES, as_codec, for_any_type

if TYPE_CHECKING:
    from rxnodes.codecs.codec import CodecName as CodecName
    from rxnodes.codecs.codec import CodecOf as CodecOf
    from rxnodes.codecs.codec import V as V

__all__ = ["AS_BYTES", "AS_TEXT", "CODEC_NAMES", "Codec", "TypedCodec", "as_codec", "decode", "encode", "for_any_type"]
