"""The body of a branch's HTTP answer: unpacked, and read in the characters that it says it has. Pure."""

import zlib
from email.message import Message
from encodings import normalize_encoding
from encodings.aliases import aliases
from functools import lru_cache
from typing import Final

UTF_8: Final = "utf_8"
_CODECS: Final = frozenset(aliases.values()) - {"mbcs", "rot_13"}
_TYPE_CHARACTERS_MAX: Final = 200
_TYPES_REMEMBERED_MAX: Final = 256
_WINDOW_BITS: Final = {"gzip": 31, "x-gzip": 31, "deflate": 15}
_LAYERS_MAX: Final = 3  # of encodings around each other
_BARE_DEFLATE: Final = -15  # without zlib's envelope, as some servers have always sent it


def charset_of(content_type: str) -> str:
    """The codec of `Content-Type`'s charset; UTF-8 when there is none, or one that nobody knows."""
    if len(content_type) > _TYPE_CHARACTERS_MAX:
        return UTF_8
    return _charset_of(content_type)


@lru_cache(_TYPES_REMEMBERED_MAX)
def _charset_of(content_type: str) -> str:
    message = Message()
    message["Content-Type"] = content_type.encode("ascii", "replace").decode()
    name = normalize_encoding(str(message.get_param("charset", ""))).lower()
    # Only codecs that are known by name: a look-up of any other is an import, and some take hours.
    codec = aliases.get(name, name)
    return codec if codec in _CODECS and not codec.endswith("_codec") else UTF_8


def decoded(body: bytes, charset: str) -> str:
    """The text of a body, its undecodable bytes replaced. charset: of `charset_of`."""
    try:
        return body.decode(charset, errors="replace")
    except (UnicodeError, LookupError):  # not every codec can replace
        return body.decode(errors="replace")


class CannotUnpack(ValueError):
    """The body is not what its Content-Encoding says."""


def unpacked(body: bytes, encoding: str, bytes_max: int) -> tuple[bytes, bool]:
    """Return the first `bytes_max` bytes of what was packed, and whether that is all that counts of it.

    encoding: of the header `Content-Encoding`. One that is not known here is left as it came: nobody asked
    for it, and the words of PROTOCOL §2 are looked for in what there is. Raises CannotUnpack.
    """
    names = [name for part in encoding.lower().split(",") if (name := part.strip()) not in {"", "identity"}]
    has_end = True
    if len(names) <= _LAYERS_MAX and all(name in _WINDOW_BITS for name in names):
        for name in reversed(names):
            body, has_end = _inflated(body, name, bytes_max)
    return body, has_end


def _inflated(body: bytes, name: str, bytes_max: int) -> tuple[bytes, bool]:
    bits = _WINDOW_BITS[name]
    if name == "deflate" and not _has_zlib_header(body):
        bits = _BARE_DEFLATE
    kept = bytearray()
    is_further = False
    while body:
        inflater = zlib.decompressobj(bits)
        try:
            kept += inflater.decompress(body, bytes_max - len(kept))
        except zlib.error as error:
            if is_further:  # padding after the last member
                break
            raise CannotUnpack(f"it is not {name}: {error}") from error
        if len(kept) >= bytes_max:
            break
        if not inflater.eof:
            return bytes(kept), False
        if bits != _WINDOW_BITS["gzip"]:
            break
        body, is_further = inflater.unused_data, True  # gzip may come in several members
    return bytes(kept), True


def _has_zlib_header(body: bytes) -> bool:
    return len(body) >= 2 and body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0
