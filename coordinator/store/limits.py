"""How long values may be: the widths of PROTOCOL §14's columns, checked before a value reaches a database.

MySQL counts characters in varchar and bytes in text and blob, PostgreSQL characters in varchar; SQLite does
not count at all. A value that is too long is refused with its own sentence, never cut. PostgreSQL's text
holds every character but NUL.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from coordinator.errors import Invalid
from coordinator.model import Branch, Transaction
from coordinator.store.base import Change

NUL: Final = "\0"
BYTES_MAX: Final = 65_535  # text and blob
TEXT_MAX: Final = 1024  # characters: urls, options, custom_data, reasons
GID_MAX: Final = 128  # characters; also branch_id and owner
NAME_MAX: Final = 45  # characters: trans_type, protocol, op
USER_NAME_MAX: Final = 64  # characters
SUBJECT_MAX: Final = 255  # characters: who somebody is to an issuer of OpenID Connect, and the issuer

_WIDTHS: Final[Mapping[str, int]] = {
    "gid": GID_MAX,
    "branch_id": GID_MAX,
    "owner": GID_MAX,
    "trans_type": NAME_MAX,
    "protocol": NAME_MAX,
    "op": NAME_MAX,
    "query_prepared": TEXT_MAX,
    "options": TEXT_MAX,
    "custom_data": TEXT_MAX,
    "result": TEXT_MAX,
    "rollback_reason": TEXT_MAX,
    "url": TEXT_MAX,
    "cat": NAME_MAX,
    "k": GID_MAX,
}


def check_transaction(transaction: Transaction, options: str) -> None:
    """Raise Invalid, naming the column, when a value of the transaction does not fit. options: as encoded."""
    if (
        len(transaction.gid) > GID_MAX
        or len(transaction.owner) > GID_MAX
        or len(transaction.trans_type) > NAME_MAX
        or len(transaction.protocol) > NAME_MAX
        or len(transaction.query_prepared) > TEXT_MAX
        or len(options) > TEXT_MAX
        or len(transaction.custom_data) > TEXT_MAX
        or len(transaction.result) > TEXT_MAX
        or len(transaction.rollback_reason) > TEXT_MAX
    ):
        check_texts(
            {
                "gid": transaction.gid,
                "owner": transaction.owner,
                "trans_type": transaction.trans_type,
                "protocol": transaction.protocol,
                "query_prepared": transaction.query_prepared,
                "options": options,
                "custom_data": transaction.custom_data,
                "result": transaction.result,
                "rollback_reason": transaction.rollback_reason,
            }
        )
    if transaction.ext_data:
        _check_bytes("ext_data", len(transaction.ext_data.encode(errors="replace")))


def check_branches(branches: Sequence[Branch]) -> None:
    """Raise Invalid, naming column and branch, when a value of one of the branches does not fit."""
    for branch in branches:
        if (
            len(branch.url) > TEXT_MAX
            or len(branch.branch_id) > GID_MAX
            or len(branch.op) > NAME_MAX
            or len(branch.payload) > BYTES_MAX
        ):
            where = f" of branch {branch.branch_id[:GID_MAX]} {branch.op[:NAME_MAX]}"
            check_texts({"url": branch.url, "branch_id": branch.branch_id, "op": branch.op}, where)
            _check_bytes(f"payload{where}", len(branch.payload))


def check_key_value(category: str, key: str, value: str) -> None:
    """Raise Invalid, naming the column, when a part of a `kv` row does not fit."""
    check_texts({"cat": category, "k": key})
    _check_bytes(f"the value of '{key}'", len(value.encode(errors="replace")))


def check_texts(values: Mapping[str, str | None], where: str = "") -> None:
    """Raise Invalid for the first value that is longer than its column. Names must be columns of text."""
    for name, value in values.items():
        if value is not None and len(value) > _WIDTHS[name]:
            raise Invalid(f"{name}{where} is too long: {len(value)} characters, at most {_WIDTHS[name]}")


def _check_bytes(name: str, length: int) -> None:
    if length > BYTES_MAX:
        raise Invalid(f"{name} is too long: {length} bytes, at most {BYTES_MAX}")


def check_no_nul(transaction: Transaction, branches: Sequence[Branch]) -> None:
    """Raise Invalid, naming the column, when a text holds NUL. Payloads are bytes, where it may be."""
    _check_each_without_nul(
        ("gid", transaction.gid),
        ("trans_type", transaction.trans_type),
        ("query_prepared", transaction.query_prepared),
        ("protocol", transaction.protocol),
        ("custom_data", transaction.custom_data),
        ("ext_data", transaction.ext_data),
        ("result", transaction.result),
        ("rollback_reason", transaction.rollback_reason),
        ("owner", transaction.owner),
    )
    _check_branches_without_nul(branches)


def _check_branches_without_nul(branches: Sequence[Branch]) -> None:
    for branch in branches:
        _check_each_without_nul(("url", branch.url), ("branch_id", branch.branch_id), ("op", branch.op))


def without_nul(change: Change) -> Change:
    """Return the change as it can be stored without NUL; raises Invalid, naming the column, where it cannot.

    A reason is words for people, and may be what a branch answered: refused, it would keep the transaction
    from ever being rolled back. So NUL is replaced in it.
    """
    assign = change.assign
    _check_each_without_nul(("result", assign.result), ("custom_data", assign.custom_data))
    _check_branches_without_nul(change.added)
    if assign.rollback_reason is None or NUL not in assign.rollback_reason:
        return change
    reason = assign.rollback_reason.replace(NUL, "\N{REPLACEMENT CHARACTER}")
    return replace(change, assign=replace(assign, rollback_reason=reason))


def check_key_value_without_nul(category: str, key: str, value: str) -> None:
    """Raise Invalid, naming the column, when a part of a `kv` row holds NUL."""
    _check_each_without_nul(("cat", category), ("k", key), ("v", value))


def _check_each_without_nul(*values: tuple[str, str | None]) -> None:
    for name, value in values:
        if value and NUL in value:
            raise Invalid(f"{name} holds the character NUL, which PostgreSQL cannot store")
