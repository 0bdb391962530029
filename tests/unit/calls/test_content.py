import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as some

from coordinator.calls.answers import http_answer, json_rpc_answer
from coordinator.calls.content import CannotUnpack, charset_of, decoded, unpacked
from coordinator.model import Result
from tests.support.work import allocation_watched


@pytest.mark.parametrize(
    ("content_type", "text", "said"),
    [
        ("text/plain", "余额不足", "utf-8"),
        ("text/plain; charset=utf-8", "余额不足", "utf-8"),
        ("text/plain; charset=GBK", "余额不足", "gbk"),
        ('text/plain;charset="gb18030"', "余额不足", "gb18030"),
        ("application/json; charset=Big5", "餘額不足", "big5"),
        ("text/plain; charset=ISO-8859-1", "Überzogen", "latin-1"),
        ("text/plain; charset=windows-1251", "нет денег", "cp1251"),
        ("text/plain; charset=Shift_JIS", "残高不足", "shift_jis"),
        ("text/plain; charset=utf-16", "余额不足", "utf-16"),
    ],
)
def test_a_branchs_text_is_read_in_the_characters_that_it_declares(
    content_type: str, text: str, said: str
) -> None:
    answer = http_answer(409, text.encode(said), charset_of(content_type))
    assert (answer.result, answer.text) == (Result.FAILURE, text)


@pytest.mark.parametrize(
    "charset", ["klingon", "", "hex", "rot13", "punycode", "idna", "undefined", "unicode_escape", "../x", "é"]
)
def test_a_charset_that_nobody_knows_is_utf_8_with_what_is_wrong_replaced(charset: str) -> None:
    assert decoded(b"gr\xc3\xbc\xc3\x9fe \xff", charset_of(f"text/plain; charset={charset}")) == "grüße �"


@pytest.mark.parametrize("charset", ["utf-16", "utf-32", "utf-7", "cp037", "gbk"])
@pytest.mark.parametrize(("word", "result"), [("FAILURE", Result.FAILURE), ("ONGOING", Result.ONGOING)])
def test_the_words_count_in_every_charset(charset: str, word: str, result: Result) -> None:
    body = f'{{"dtm_result":"{word}"}}'.encode(charset)
    assert http_answer(200, body, charset_of(f"application/json; charset={charset}")).result is result


def test_a_json_rpc_error_counts_in_every_charset() -> None:
    body = '{"jsonrpc":"2.0","id":"1","error":{"code":-32901,"message":"余额不足"}}'.encode("gbk")
    answer = json_rpc_answer(200, body, charset_of("application/json; charset=gbk"))
    assert answer.result is Result.FAILURE
    assert "余额不足" in answer.text
    assert json_rpc_answer(200, b"\xef\xbb\xbf" + b'{"result":1}').result is Result.SUCCESS
    assert json_rpc_answer(200, b'{"error":{"code":-32901,"message":"caf\xe9"}}').result is Result.FAILURE


@given(some.text(max_size=50), some.binary(max_size=200))
def test_no_charset_and_no_body_is_too_strange(charset: str, body: bytes) -> None:
    decoded(body, charset_of(f"text/plain; charset={charset}"))


def _gzip(body: bytes) -> bytes:
    return gzip.compress(body, mtime=0)  # the same in every run


def _raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


@pytest.mark.parametrize(
    ("encoding", "packed"),
    [
        ("gzip", _gzip(b"FAILURE no money")),
        ("x-gzip", _gzip(b"FAILURE ") + _gzip(b"no money")),
        ("GZip", _gzip(b"FAILURE no money") + b"\0\0\0"),
        ("deflate", zlib.compress(b"FAILURE no money")),
        ("deflate", _raw_deflate(b"FAILURE no money")),
        ("deflate, gzip", _gzip(zlib.compress(b"FAILURE no money"))),
        ("identity", b"FAILURE no money"),
        ("", b"FAILURE no money"),
        ("br", b"FAILURE no money"),  # not known here: as it came
        ("gzip, zstd", b"FAILURE no money"),
    ],
)
def test_bodies_are_unpacked(encoding: str, packed: bytes) -> None:
    assert unpacked(packed, encoding, 1000) == (b"FAILURE no money", True)


def test_a_packed_body_without_its_end_is_known_as_one() -> None:
    beginning, has_end = unpacked(gzip.compress(b"FAILURE no money" * 100)[:-12], "gzip", 10_000)
    assert beginning.startswith(b"FAILURE")
    assert not has_end


@pytest.mark.parametrize("body", [b"plain", b"\x1f\x8bnonsense"])
def test_what_is_not_packed_cannot_be_unpacked(body: bytes) -> None:
    with pytest.raises(CannotUnpack, match="gzip"):
        unpacked(body, "gzip", 1000)


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "gzip, gzip", ", ".join(["gzip"] * 50)])
def test_a_bomb_is_unpacked_only_to_the_bound(encoding: str) -> None:
    body = b"0" * 50_000_000
    for name in encoding.split(", ")[:3]:
        body = gzip.compress(body) if name == "gzip" else zlib.compress(body)
    with allocation_watched() as allocated:
        inside, _ = unpacked(body, encoding, 1000)
    assert len(inside) <= max(1000, len(body) if encoding.count("gzip") > 3 else 0)
    assert allocated.peak_bytes < 1_000_000


@given(some.binary(max_size=300), some.sampled_from(["gzip", "deflate", "gzip, deflate", "x"]))
def test_no_packed_body_is_too_strange(body: bytes, encoding: str) -> None:
    try:
        unpacked(body, encoding, 100)
    except CannotUnpack:
        return
