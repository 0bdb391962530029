"""The page about one transaction: what stands on it, to whom, and that no text of others acts there."""

from dataclasses import replace
from html.parser import HTMLParser
from typing import Any, cast
from urllib.parse import parse_qsl

import pytest

from coordinator.access.permissions import ANYBODY, ROLES, Principal, Role
from coordinator.console.equal import command_of, quoted
from coordinator.console.links import LinkTemplates
from coordinator.console.page import File, Shown, Visit
from coordinator.console.transaction import TransactionPage
from coordinator.console.tried import tried_branches
from coordinator.console.words import catalogue
from coordinator.errors import Forbidden, NotFound
from coordinator.explain.actions import Action, SkipReason
from coordinator.explain.preview import Fate
from coordinator.service.operate import Explained, Operate, Wish
from tests.unit.console.timelines import NOW, anything, long_saga, night, teller
from tests.unit.console.visits import Known, around, html, visit

VIEWER = Principal("ann", ROLES[Role.VIEWER], "token x")
OPERATOR = Principal("bob", ROLES[Role.OPERATOR], "token y")
LINKS = LinkTemplates("https://jaeger/trace/{trace_id}", "https://logs/?q={gid}")
TRACED = '{"traceparent":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}'
PAYLOAD = b'{"amount":18446744073709551615,"name":"<script>alert(1)</script>"}'


class Seen(HTMLParser):
    """What a browser would find in a page."""

    def __init__(self) -> None:
        super().__init__()
        self.scripts, self.names, self.links = 0, list[str](), list[str]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        self.names += [name for name, _ in attrs]
        self.links += [value or "" for name, value in attrs if name in {"href", "src", "action"}]


def with_payloads(it: Explained, content: bytes = PAYLOAD) -> Explained:
    branches = tuple(replace(row, payload=content) for row in it.stored.branches)
    transaction = replace(it.stored.transaction, ext_data=TRACED)
    return replace(it, stored=replace(it.stored, transaction=transaction, branches=branches))


def page_of(it: Explained) -> TransactionPage:
    return TransactionPage(cast(Operate, Known(it)), around(), LINKS)


async def text_of(it: Explained, who: Principal = ANYBODY, language: str = "en") -> str:
    asked = visit("/transactions/{gid}", {"gid": it.stored.transaction.gid}, who, language=language)
    shown = await page_of(it)._show(asked)
    assert isinstance(shown, Shown)
    return html(asked, shown)


async def payload_page(it: Explained, query: str, who: Principal = ANYBODY) -> Any:
    asked: Visit = visit("/transactions/{gid}/payload", {"gid": "g"}, who, query=dict(parse_qsl(query)))
    return await page_of(it)._payload(asked)


async def test_it_says_why_what_to_do_and_what_comes_next() -> None:
    text = await text_of(with_payloads(night()))
    assert "transfer-7f3a91</bdi>" in text and "aborting" in text
    assert "refuses connections, 29 times" in text and ">W11<" in text
    assert "dtm retry transfer-7f3a91" in text
    assert "If this goes on it is called again every 5 min." in text
    assert '<svg xmlns="http://www.w3.org/2000/svg" class="timeline"' in text
    assert "18446744073709551615" in text


async def test_it_speaks_chinese() -> None:
    text = await text_of(night(), language="zh")
    assert "没有成功" in text
    assert "does not succeed" not in text and "Then: dtm retry" not in text
    assert "可以执行" in text and "现在 02:14:07" in text


async def test_trace_and_log_lines_are_a_link_away() -> None:
    text = await text_of(with_payloads(night()))
    assert 'href="https://jaeger/trace/4bf92f3577b34da6a3ce929d0e0e4736"' in text
    assert 'href="https://logs/?q=transfer-7f3a91"' in text


async def test_a_transaction_without_a_trace_has_no_link_to_one() -> None:
    assert "jaeger" not in await text_of(night())


async def test_who_may_not_see_payloads_sees_none_and_is_told() -> None:
    text = await text_of(with_payloads(night()), VIEWER)
    assert "18446744073709551615" not in text
    assert "to see them you need read.payload" in text
    with pytest.raises(Forbidden):
        await payload_page(with_payloads(night()), "branch_id=01&op=action", VIEWER)


async def test_who_may_only_look_is_offered_nothing_to_press() -> None:
    viewers, operators = await text_of(night(), VIEWER), await text_of(night(), OPERATOR)
    assert "<form" not in viewers and "You may look, and not do it." in viewers
    assert 'action="/transactions/transfer-7f3a91/retry"' in operators
    assert 'href="/transactions/transfer-7f3a91/stop"' in operators


async def test_what_a_step_answered_stands_among_the_payloads() -> None:
    it = replace(night(), results={"01": b'{"booking":"<b-7>"}'})
    assert "Payload of 01 result" in (text := await text_of(it))
    assert "&lt;b-7&gt;" in text
    kept = await payload_page(it, "branch_id=01&op=result&as=file")
    assert isinstance(kept, File) and kept.body == b'{"booking":"<b-7>"}'
    assert "b-7" not in await text_of(it, VIEWER)
    with pytest.raises(NotFound):
        await payload_page(it, "branch_id=02&op=result")


async def test_a_payload_has_a_page_of_its_own_and_can_be_downloaded() -> None:
    shown = await payload_page(with_payloads(night()), "branch_id=01&op=action")
    assert isinstance(shown, Shown)
    kept = await payload_page(with_payloads(night()), "branch_id=01&op=action&as=file")
    assert isinstance(kept, File)
    assert kept.body == PAYLOAD
    assert kept.headers["Content-Disposition"].startswith("attachment")
    with pytest.raises(NotFound):
        await payload_page(with_payloads(night()), "branch_id=77&op=action")


@pytest.mark.parametrize("seed", range(12))
async def test_nothing_that_rows_hold_acts_on_the_page(seed: int) -> None:
    it = with_payloads(
        anything(seed, ["</pre><script>", "javascript:alert(1)"]), b"</pre><script>alert(1)</script>"
    )
    text = await text_of(it)
    seen = Seen()
    seen.feed(text)
    assert seen.scripts == 1  # ours
    assert not [name for name in seen.names if name.startswith("on") or name == "style"]
    assert all(link.startswith(("/", "https://jaeger/", "https://logs/", "#")) for link in seen.links)
    assert not set("\x00\x1b\u202e") & set(text)


async def test_a_megabyte_in_a_row_makes_no_megabyte_of_page() -> None:
    it = with_payloads(night(), b"x" * 1_000_000)
    assert len(await text_of(it)) < 150_000


async def test_of_hundreds_of_branches_the_page_stays_a_page() -> None:
    text = await text_of(with_payloads(long_saga(300)))
    assert len(text) < 200_000
    assert "And 276 more, not drawn" in text
    assert "And 292 more:" in text  # payloads


async def test_of_a_gid_that_is_not_theirs_nobody_is_told() -> None:
    with pytest.raises(Forbidden):
        await text_of(night(), replace(VIEWER, gid_prefix="orders-"))


def test_attempts_tell_what_changed() -> None:
    first, _ = tried_branches(night().attempts, teller())
    assert (first.branch_id, first.op) == ("01", "compensate")
    assert [one.calls for one in first.attempts] == ["1–28", "29–57"]
    assert first.attempts[1].changes == ("before: 503 Service Unavailable",)


def test_attempts_that_are_not_kept_are_counted() -> None:
    attempts = [replace(it, number=9) if it.number == 2 else it for it in night().attempts]
    first, _ = tried_branches(attempts, teller())
    assert [one.is_gap for one in first.attempts] == [False, True, False]
    assert "7 more kinds" in first.attempts[1].answer


@pytest.mark.parametrize(
    ("gid", "wish", "command"),
    [
        ("g", Wish(Action.RETRY), "dtm retry g"),
        ("a b", Wish(Action.STOP), "dtm stop 'a b'"),
        ("-g", Wish(Action.ROLLBACK), "dtm rollback -- -g"),
        (
            "g",
            Wish(Action.SKIP, ("02", "action"), SkipReason.MUST_NOT_HAPPEN),
            "dtm skip g 02 --must-not-happen",
        ),
        ("$(rm -rf ~)", Wish(Action.RETRY), "dtm retry '$(rm -rf ~)'"),
    ],
)
def test_the_equal_command_can_be_pasted(gid: str, wish: Wish, command: str) -> None:
    assert command_of(gid, wish) == command


def test_what_a_terminal_would_obey_is_escaped_in_a_command() -> None:
    assert quoted("a\x1b[31m'") == "$'a\\x1b[31m\\''"


def test_every_fate_and_action_has_its_words() -> None:
    wanted = {f"acting.fate_{fate.name.lower()}" for fate in Fate}
    wanted |= {f"acting.{what}_{action}" for what in ("name", "means", "would", "do") for action in Action}
    wanted |= {f"acting.reason_{reason.name.lower()}" for reason in SkipReason}
    assert wanted - set(catalogue()) == set()


def test_the_night_is_now() -> None:
    assert around().now() == NOW
