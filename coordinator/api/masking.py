"""What is shown to whom: payloads, credentials, whole answers of branches need `read.payload`. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from coordinator.access.permissions import Permission, Principal
from coordinator.attempt import Stuck
from coordinator.discovery.logins import HIDDEN, shown_url
from coordinator.engine.told import told
from coordinator.model import Branch, Options, Transaction, TransType
from coordinator.service.endpoints import Seen
from coordinator.service.operate import Explained
from coordinator.store.base import KeyValue, Stored
from coordinator.store.operate_tables import Group, Inbox
from coordinator.store.search import Found, Page

_SECRET: Final = re.compile(
    r"auth|cookie|token|secret|passw|pwd|api[-_]?key|credential|session", re.IGNORECASE
)
_URL: Final = re.compile(r"[a-z][a-z0-9+.-]*://[^\s\"<>]+", re.IGNORECASE)


def shown_to(who: Principal, stored: Stored | None) -> Stored | None:
    """The transaction as the principal may see it: what uses the transaction API keeps its own payloads."""
    if stored is None or _sees_all(who):
        return stored
    return _masked_rows(stored, Permission.SUBMIT in who.permissions)


def progress_shown_to(who: Principal, stored: Stored) -> Stored:
    """The same for the client of a workflow: to go on it needs its payloads and its headers."""
    if _sees_all(who):
        return stored
    shown = _masked_rows(stored, keeps_payloads=True)
    if stored.transaction.status.is_final:
        return shown
    return replace(shown, transaction=replace(shown.transaction, options=stored.transaction.options))


def page_shown_to(who: Principal, page: Sequence[Transaction]) -> Sequence[Transaction]:
    """The same of the rows of a list."""
    if _sees_all(who):
        return page
    keeps_payloads = Permission.SUBMIT in who.permissions
    return [_masked(transaction, keeps_payloads) for transaction in page]


def value_shown_to(who: Principal, row: KeyValue) -> KeyValue:
    """A row of `kv`, as the principal may see it: topics hold urls of branches."""
    return row if _sees_all(who) else replace(row, value=_without_passwords(row.value))


def found_by(who: Principal, page: Page) -> Page:
    """A page of what was looked for, as the principal may see it."""
    if _sees_all(who):
        return page
    keeps_payloads = Permission.SUBMIT in who.permissions
    found = [
        Found(_masked(it.transaction, keeps_payloads), it.stuck and _masked_stuck(it.stuck))
        for it in page.found
    ]
    return replace(page, found=found)


def inbox_shown_to(who: Principal, inbox: Inbox) -> Inbox:
    """What is stuck, as the principal may see it."""
    if _sees_all(who):
        return inbox
    return replace(inbox, groups=_masked_groups(inbox.groups))


def endpoint_shown_to(who: Principal, seen: Seen) -> Seen:
    """An endpoint, as the principal may see it."""
    return seen if _sees_all(who) else replace(seen, errors=_masked_groups(seen.errors))


def explained_to(who: Principal, explained: Explained) -> Explained:
    """What is said of a transaction, as the principal may see it; its rows apart (see shown_to)."""
    if _sees_all(who):
        return explained
    return replace(
        explained,
        attempts=[replace(it, answer=_cleaned(it.answer)) for it in explained.attempts],
        why=replace(explained.why, said=explained.why.said.with_texts(_cleaned)),
        results=explained.results
        if Permission.SUBMIT in who.permissions
        else dict.fromkeys(explained.results),
    )


def _masked_groups(groups: Sequence[Group]) -> list[Group]:
    return [replace(group, example=_masked_stuck(group.example)) for group in groups]


def _masked_stuck(stuck: Stuck) -> Stuck:
    return replace(stuck, error=_cleaned(stuck.error))


def _cleaned(text: str) -> str:
    return told(_without_passwords(text))


def _sees_all(who: Principal) -> bool:
    return Permission.READ_PAYLOAD in who.permissions


def _masked_rows(stored: Stored, keeps_payloads: bool) -> Stored:
    return Stored(
        _masked(stored.transaction, keeps_payloads),
        tuple([_masked_branch(branch, keeps_payloads) for branch in stored.branches]),
    )


def _masked(transaction: Transaction, keeps_payloads: bool) -> Transaction:
    # The data of a workflow are its payload, and stand in custom_data; what others have there are options.
    is_payload = transaction.trans_type == TransType.WORKFLOW and not keeps_payloads
    return replace(
        transaction,
        query_prepared=shown_url(transaction.query_prepared),
        options=_masked_options(transaction.options),
        custom_data="" if is_payload else transaction.custom_data,
        result=transaction.result if keeps_payloads else "",
        rollback_reason=told(_without_passwords(transaction.rollback_reason)),
    )


def _masked_branch(branch: Branch, keeps_payloads: bool) -> Branch:
    return replace(branch, url=shown_url(branch.url), payload=branch.payload if keeps_payloads else b"")


def _masked_options(options: Options) -> Options:
    steps = options.step_headers
    return replace(
        options,
        branch_headers=_masked_headers(options.branch_headers),
        step_headers=steps and {step: _masked_headers(headers) for step, headers in steps.items()},
    )


def _masked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: HIDDEN if _SECRET.search(name) else value for name, value in headers.items()}


def _without_passwords(text: str) -> str:
    return _URL.sub(lambda found: shown_url(found[0]), text)
