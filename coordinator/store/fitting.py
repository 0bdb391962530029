"""What a column of text can keep, and words for people made to fit it. Pure.

What a driver writes holds a stranger's text: what a branch answered. It must never be refused, or a saga
would not be rolled back because its branch said why. So words for people are replaced and cut until they fit.
What clients gave is refused, and told why.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from coordinator.errors import Invalid
from coordinator.model import Branch, Transaction
from coordinator.store.base import Assign, Change
from coordinator.store.limits import BYTES_MAX, TEXT_MAX
from coordinator.store.own_rows import OwnRowGone, OwnWrite, indispensable

_BEYOND_16_BITS: Final = re.compile("[\U00010000-\U0010ffff]")
_UTF_8: Final = "utf-8"  # of all our codecs the one that takes more than a byte for a character

# Python's codec for what surely has a place in a column of that character set. Any other may hold more than
# ASCII, but not surely: the two would have to agree about every character.
_CODECS: Final[Mapping[str, str]] = {
    # MySQL's
    **dict.fromkeys(("utf8mb4", "utf8mb3", "utf8", "ucs2", "utf16", "utf16le", "utf32"), _UTF_8),
    "latin1": "cp1252", "latin2": "iso8859-2", "latin5": "iso8859-9", "latin7": "iso8859-13",
    "cp1250": "cp1250", "cp1251": "cp1251", "cp1256": "cp1256", "cp1257": "cp1257",
    "greek": "iso8859-7", "hebrew": "iso8859-8", "koi8r": "koi8-r", "koi8u": "koi8-u",
    # PostgreSQL's; the first of the two takes any bytes, as they come
    "SQL_ASCII": _UTF_8, "UTF8": _UTF_8,
    "LATIN1": "iso8859-1", "LATIN2": "iso8859-2", "LATIN3": "iso8859-3", "LATIN4": "iso8859-4",
    "LATIN5": "iso8859-9", "LATIN6": "iso8859-10", "LATIN7": "iso8859-13", "LATIN8": "iso8859-14",
    "LATIN9": "iso8859-15", "LATIN10": "iso8859-16",
    **{f"ISO_8859_{n}": f"iso8859-{n}" for n in range(5, 9)},
    **{f"WIN{n}": f"cp{n}" for n in (866, *range(1250, 1259))},
    "KOI8R": "koi8-r", "KOI8U": "koi8-u",
}  # fmt: skip
_OF_16_BITS: Final = frozenset({"utf8mb3", "utf8", "ucs2"})  # MySQL's names


@dataclass(frozen=True, slots=True)
class TextColumn:
    """What a column keeps. character_set: as the database calls it."""

    characters_max: int | None = None
    bytes_max: int | None = None
    character_set: str = "UTF8"

    @property
    def codec(self) -> str:
        """Python's name of an encoding whose characters all have a place in it."""
        return _CODECS.get(self.character_set, "ascii")

    def kept(self, text: str) -> str:
        """The text with every character replaced that may have no place in the column."""
        if text.isascii():
            return text
        if self.character_set in _OF_16_BITS:
            text = _BEYOND_16_BITS.sub("\N{REPLACEMENT CHARACTER}", text)
        return text.encode(self.codec, "replace").decode(self.codec)

    def length_max(self, text: str) -> int:
        """How many characters of this text it takes at most."""
        length_max = len(text) if self.characters_max is None else self.characters_max
        if self.bytes_max is None:
            return length_max
        if self.codec != _UTF_8:
            return min(length_max, self.bytes_max)
        if len(text.encode(errors="replace")) <= self.bytes_max:
            return length_max
        return min(length_max, self.bytes_max // (3 if self.character_set in _OF_16_BITS else 4))


# Of trans_global, by name; one that is not there takes what PROTOCOL §14 says.
Columns = Mapping[str, TextColumn]

_WORDS: Final = TextColumn(TEXT_MAX)
_ANYTHING: Final = TextColumn()
_HINT: Final = "shorten or change it, or make the column as in sql/"
# Where the column turns out to be another than it was at the start.
_PLAINEST: Final = TextColumn(64, character_set="US_ASCII")
_PLAIN: Final = TextColumn(character_set="US_ASCII")


def fitted(text: str, column: TextColumn) -> str:
    """Words for people as the column can keep them: characters replaced, the middle left out."""
    text = column.kept(text)
    length_max = column.length_max(text)
    if len(text) <= length_max:
        return text
    gap = "…" if column.kept("…") == "…" else "..."
    tail = (length_max - len(gap)) // 2
    if tail <= 0:
        return text[:length_max]
    return f"{text[: length_max - len(gap) - tail]}{gap}{text[-tail:]}"


def problem_of(text: str, column: TextColumn) -> str:
    """Why the column cannot keep the text, to stand after its name; empty when it can."""
    kept = column.kept(text)
    if kept != text:
        character = next(one for one in text if column.kept(one) != one)
        return f"holds {character!a}, which its column in the store cannot keep ({column.character_set})"
    length_max = column.length_max(text)
    if len(text) > length_max:
        return f"is too long for its column in the store: {len(text)} characters, at most {length_max}"
    return ""


def is_unfit(gid: str, columns: Columns) -> bool:
    """Whether no row can have this gid. Every other name that rows are found by is taken for one."""
    return bool(problem_of(gid, columns.get("gid", _ANYTHING)))


def attempts(change: Change, columns: Columns) -> Iterator[Change]:
    """The change as it can be stored; then, should it be refused all the same, with ever plainer words,
    also without the rows of our own that need not stand, which may be what was refused.

    Only a driver's is changed; of any other there is one attempt.
    """
    assign = change.assign
    has_words = assign.rollback_reason is not None or assign.ext_data is not None or bool(change.own_rows)
    if not (change.by_driver and has_words):
        yield change
        return
    reason, ext_data, fitting = assign.rollback_reason, assign.ext_data, assign
    if ext_data is not None and problem_of(ext_data, columns.get("ext_data", _ANYTHING)):
        ext_data = None
        fitting = replace(fitting, ext_data=None)
    if reason is not None:
        column = columns.get("rollback_reason", _WORDS)
        if column.characters_max is None or column.characters_max > TEXT_MAX:
            column = replace(column, characters_max=TEXT_MAX)
        if (words := fitted(reason, column)) != reason:
            fitting = replace(fitting, rollback_reason=words)
    yield change if fitting is assign else replace(change, assign=fitting)
    plain_rows = tuple([_plain(row) for row in change.own_rows])
    needed = indispensable(change.own_rows)
    if change.own_rows:
        yield replace(change, assign=fitting, own_rows=plain_rows)
        yield replace(change, assign=fitting, own_rows=needed)
    if reason is not None:
        plainest = replace(fitting, rollback_reason=fitted(reason, _PLAINEST))
        yield replace(change, assign=plainest, own_rows=plain_rows)
    yield replace(change, assign=replace(assign, rollback_reason=None, ext_data=None), own_rows=needed)


def _plain(row: OwnWrite) -> OwnWrite:
    if isinstance(row, OwnRowGone) or row.must_stand:
        return row
    values = [_PLAIN.kept(value) if isinstance(value, str) else value for value in row.values]
    return replace(row, values=tuple(values))


def without_unfit_trace(transaction: Transaction, columns: Columns) -> Transaction:
    """The transaction to insert, without ext_data, nobody's wish, where the column cannot keep that."""
    if not transaction.ext_data or not problem_of(transaction.ext_data, columns.get("ext_data", _ANYTHING)):
        return transaction
    return replace(transaction, ext_data="")


def named(
    error: Invalid, values: Transaction | Assign, branches: Iterable[Branch], columns: Columns
) -> Invalid:
    """The refusal of a value, with the name of the value where that can be found out."""
    for name, column in columns.items():
        text = getattr(values, name, None)
        if isinstance(text, str) and (problem := problem_of(text, column)):
            return Invalid(f"{name} {problem}", _HINT)
    characters = replace(columns.get("gid", _ANYTHING), characters_max=None, bytes_max=None)
    for branch in branches:
        for name in ("url", "branch_id", "op"):
            if problem := problem_of(getattr(branch, name), characters):
                return Invalid(f"{name} of branch {branch.branch_id} {branch.op} {problem}", _HINT)
    return error


def column_of(characters_max: int | None, bytes_max: int | None, character_set: str) -> TextColumn:
    """A column as the catalogue of a database describes it; bounds that other checks keep are left out."""
    return TextColumn(
        characters_max, bytes_max if bytes_max is not None and bytes_max < BYTES_MAX else None, character_set
    )
