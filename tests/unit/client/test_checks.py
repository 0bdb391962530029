"""Mistakes of the caller: InvalidUse that names argument and value, before anything is sent."""

from collections.abc import Callable
from typing import Any

import pytest

from coordinator.calls.url import is_http, parse_grpc_url, parse_http_url
from coordinator.client import Dtm, InvalidUse, Saga, Workflow, Workflows, from_result, workflow
from coordinator.client.transport.checks import check_url
from tests.unit.client.fake_coordinator import Fake

URL = "http://h/a"
Use = Callable[[Dtm], Any]


@workflow("nothing")
async def nothing(wf: Workflow, data: Any) -> None:
    pass


def workflows(dtm: Dtm, callback: Any = "http://me/workflow") -> Workflows:
    return Workflows(dtm, [nothing], callback=callback)


def kept(dtm: Dtm) -> Saga:
    return dtm.saga().add(URL, payload={}, keep_result=True)


WRONG: list[tuple[str, Use]] = [
    (
        "step 0 cannot use the result of step 0",
        lambda dtm: dtm.saga().add(URL, "", from_result(0), keep_result=True),
    ),
    ("step 1 cannot use the result of step 2", lambda dtm: kept(dtm).add(URL, "", from_result(2))),
    ("step 1 uses the result of step 0", lambda dtm: dtm.saga().add(URL).add(URL, "", [from_result(0)])),
    ("step 0 has no action", lambda dtm: dtm.saga().add("", URL, keep_result=True)),
    ("keep_result=1: give True or False", lambda dtm: dtm.saga().add(URL, keep_result=1)),  # type: ignore[arg-type]
    ("a result can stand below keys that are str", lambda dtm: kept(dtm).add(URL, "", {1: from_result(0)})),
    ("a payload has 65 results, at most 64 fit", lambda dtm: kept(dtm).add(URL, "", [from_result(0)] * 65)),
    ("path: 'id' is no path", lambda dtm: from_result(0, "id")),
    ("step=-1: the numbers of steps are ints", lambda dtm: from_result(-1)),
    ("path=7: a path is a str", lambda dtm: from_result(0, 7)),  # type: ignore[arg-type]
    ("a payload of type", lambda dtm: kept(dtm).add(URL, "", {"a": {1: from_result(0)}.values()})),
    ("a payload of type dict", lambda dtm: dtm.msg().add(URL, {"a": from_result(0)})),
    ("wait_result=1: give True or False", lambda dtm: dtm.saga(wait_result=1)),  # type: ignore[arg-type]
    ("concurrent='yes'", lambda dtm: dtm.saga(concurrent="yes")),  # type: ignore[arg-type]
    ("timeout_to_fail='60': give an int", lambda dtm: dtm.saga(timeout_to_fail="60")),  # type: ignore[arg-type]
    ("request_timeout=1.5: give an int", lambda dtm: dtm.tcc(request_timeout=1.5)),  # type: ignore[typeddict-item]
    ("retry_limit=True: give an int", lambda dtm: dtm.saga(retry_limit=True)),
    ("retry_interval=-1: give a number that is not negative", lambda dtm: dtm.msg(retry_interval=-1)),
    ("timeout_to_fail=2147483648", lambda dtm: dtm.xa(timeout_to_fail=2**31)),
    ("delay=-1", lambda dtm: dtm.msg(delay=-1)),
    ("branch_headers=['a']: give a dict", lambda dtm: dtm.saga(branch_headers=["a"])),  # type: ignore[arg-type]
    ("'a b' is no header name", lambda dtm: dtm.saga(branch_headers={"a b": "c"})),
    (
        "branch_headers['a']='ü': give a str of printable ASCII",
        lambda dtm: dtm.tcc(branch_headers={"a": "ü"}),
    ),
    ("branch_headers['a']=1", lambda dtm: dtm.xa(branch_headers={"a": 1})),  # type: ignore[dict-item]
    ("says which host is called", lambda dtm: dtm.saga(branch_headers={"Host": "x"})),
    ("failure_statuses=422: give a set", lambda dtm: dtm.saga(failure_statuses=422)),  # type: ignore[arg-type]
    ("'422' is no status", lambda dtm: dtm.saga(failure_statuses={"422"})),  # type: ignore[arg-type]
    ("503 is no refusal", lambda dtm: dtm.saga(failure_statuses={503})),
    ("425 is no refusal", lambda dtm: dtm.saga(failure_statuses={425})),
    ("gid='': an empty gid is none", lambda dtm: dtm.saga("")),
    ("gid=7: a gid is a str", lambda dtm: dtm.tcc(7)),  # type: ignore[arg-type]
    ("has 129 characters, at most 128 fit", lambda dtm: dtm.msg("g" * 129)),
    ("has a control character", lambda dtm: dtm.xa("a\nb")),
    ("gid=7", lambda dtm: dtm.query(7)),  # type: ignore[arg-type]
    ("gid=''", lambda dtm: dtm.wait("")),
    ("timeout=0: give a number of seconds above 0", lambda dtm: dtm.wait("g", timeout=0)),
    ("gid=''", lambda dtm: dtm.stop("")),
    ("gid=''", lambda dtm: dtm.retry("")),
    ("limit='9'", lambda dtm: dtm.list(limit="9")),  # type: ignore[arg-type]
    ("created_from='x': give a datetime with a time zone", lambda dtm: dtm.list(created_from="x")),  # type: ignore[arg-type]
    ("action='/out': ", lambda dtm: dtm.saga().add("/out")),
    ("compensate='out-back'", lambda dtm: dtm.saga().add(URL, "out-back")),
    ("action=7: a url is a str", lambda dtm: dtm.saga().add(7)),  # type: ignore[arg-type]
    ("has 1109 characters", lambda dtm: dtm.saga().add(f"{URL}{'a' * 1099}")),
    ("after=3: give the numbers", lambda dtm: dtm.saga().add(URL, after=3)),  # type: ignore[arg-type]
    ("the numbers of steps are ints", lambda dtm: dtm.saga().add(URL, after=["0"])),  # type: ignore[list-item]
    ("headers['a']=1", lambda dtm: dtm.saga().add(URL, headers={"a": 1})),  # type: ignore[dict-item]
    ("url='': give the url of the branch", lambda dtm: dtm.msg().add("")),
    ("topic='': give a name", lambda dtm: dtm.msg().add_topic("")),
    ("topic='': give a name", lambda dtm: dtm.msg().add("topic://")),
    ("query_prepared='/asked'", lambda dtm: dtm.msg(query_prepared="/asked")),
    ("has 65537 bytes, at most 65535 fit", lambda dtm: dtm.saga().add(URL, payload="x" * 65_535)),
    ("callback='/workflow'", lambda dtm: workflows(dtm, "/workflow").execute(nothing)),
    ("data=", lambda dtm: workflows(dtm).execute(nothing, "x" * 1000)),
    ("gid=''", lambda dtm: workflows(dtm).execute(nothing, gid="")),
    ("headers['a']=1", lambda dtm: workflows(dtm).execute(nothing, headers={"a": 1})),  # type: ignore[dict-item]
    ("topic=7", lambda dtm: dtm.subscribe(7, URL)),  # type: ignore[arg-type]
    ("url='bank'", lambda dtm: dtm.subscribe("t", "bank")),
    ("remark=7", lambda dtm: dtm.subscribe("t", URL, remark=7)),  # type: ignore[arg-type]
    ("topic=''", lambda dtm: dtm.unsubscribe("", URL)),
    ("topic=''", lambda dtm: dtm.delete_topic("")),
    ("this tcc is not open", lambda dtm: dtm.tcc().call_branch({}, URL, URL, URL)),
    ("this xa is not open", lambda dtm: dtm.xa().call_branch(URL)),
]


@pytest.mark.parametrize(("sentence", "use"), WRONG, ids=[f"{n}-{it[0][:20]}" for n, it in enumerate(WRONG)])
async def test_a_mistake_is_named_and_nothing_is_sent(fake: Fake, sentence: str, use: Use) -> None:
    async with Dtm(fake.url) as dtm:
        with pytest.raises(InvalidUse) as caught:
            made = use(dtm)
            await made
    if fake.url.startswith("http") or "/" not in sentence:
        assert sentence in caught.value.message
    assert fake.asked == []


@pytest.mark.parametrize("timeout", [0, -1, "5", None, True])
def test_a_time_out_is_a_number_of_seconds(timeout: Any) -> None:
    with pytest.raises(InvalidUse, match="timeout="):
        Dtm("http://h", timeout=timeout)


async def test_inside_a_block_wrong_urls_are_named_before_a_branch_is_registered(
    fake: Fake, bank: str
) -> None:
    async with Dtm(fake.url) as dtm:
        with pytest.raises(InvalidUse, match="try_url='try'"):
            async with dtm.tcc() as tcc:
                await tcc.call_branch({}, "try", f"{bank}/b/confirm", f"{bank}/b/cancel")
        with pytest.raises(InvalidUse, match="cancel_url='cancel'"):
            async with dtm.tcc() as tcc:
                await tcc.call_branch({}, f"{bank}/b/try", f"{bank}/b/confirm", "cancel")
        with pytest.raises(InvalidUse, match="url=''"):
            async with dtm.xa() as xa:
                await xa.call_branch("")
    assert fake.names() == ["prepare", "abort"] * 3


async def test_after_its_block_a_transaction_takes_no_further_branch(fake: Fake, bank: str) -> None:
    async with Dtm(fake.url) as dtm:
        async with dtm.tcc() as tcc:
            pass
        async with dtm.xa() as xa:
            pass
        with pytest.raises(InvalidUse, match="this tcc is not open"):
            await tcc.call_branch({}, f"{bank}/b/t", f"{bank}/b/c", f"{bank}/b/x")
        with pytest.raises(InvalidUse, match="this xa is not open"):
            await xa.call_branch(f"{bank}/b/t")


async def test_what_is_handed_in_takes_no_further_step(fake: Fake, bank: str) -> None:
    async with Dtm(fake.url) as dtm:
        saga = dtm.saga("g1").add(f"{bank}/b/a")
        await saga.submit()
        with pytest.raises(InvalidUse, match="saga g1 is handed in already"):
            saga.add(f"{bank}/b/a")
        await saga.submit()
        msg = dtm.msg("g2", query_prepared=f"{bank}/b/q").add(f"{bank}/b/a")
        await msg.prepare()
        with pytest.raises(InvalidUse, match="message g2 is handed in already"):
            msg.add(f"{bank}/b/a")


async def test_a_transaction_has_a_thousand_steps_at_most(fake: Fake, bank: str) -> None:
    async with Dtm(fake.url) as dtm:
        saga = dtm.saga("g1")
        for _ in range(1000):
            saga.add(f"{bank}/b/a")
        with pytest.raises(InvalidUse, match="at most 1000 steps"):
            saga.add(f"{bank}/b/a")


URLS = [
    *("", "http://h", "https://h:1/a?b=c", "HTTP://h/a", "http://[::1]:80/a", "http://me:secret@h/a"),
    *(
        "/a",
        "a",
        "h:1/a",
        "ftp://h/a",
        "http://",
        "http:///a",
        "http://h:x/a",
        "http://h:0/a",
        "http://h\n/a",
    ),
    *("h:1/a.B/C", "h:1/a.B", "h:1", "h:x/a.B/C", "ü:1/a.B/C", ":1/a.B/C", "h/a.B/C"),
    *("etcd://h:1/user.rpc/a.B/C", "discov://h:1,i:2/user.rpc/a.B/C", "etcd:///h:1?key=user.rpc/a.B/C"),
    *(
        "direct:///h:1,i:2/a.B/C",
        "dns:///h:1/a.B/C",
        "etcd://h:1/a.B/C",
        "etcd://h:1",
        "direct:///a.B/C",
        "x://h:1/a.B/C",
    ),
    *("grpcs://h:1/a.B/C", "grpcs://h:1,i:2/a.B/C", "grpcs://h/a.B/C", "grpcs+dns:///h:1/a.B/C"),
    *("grpcs+etcd://h:1/user.rpc/a.B/C", "grpcs+etcd://h:1/prod/user.rpc/a.B/C", "grpcs+x://h:1/a.B/C"),
]


@pytest.mark.parametrize("protocol", ["http", "grpc"])
@pytest.mark.parametrize("url", URLS)
def test_a_url_is_refused_where_the_coordinator_would_refuse_it(url: str, protocol: str) -> None:
    read = parse_grpc_url if protocol == "grpc" and not is_http(url) else parse_http_url
    try:
        read(url or ("h:1/a.B/C" if protocol == "grpc" else "http://h"))
    except ValueError:
        with pytest.raises(InvalidUse):
            check_url("url", url, protocol, may_be_empty=True)
    else:
        check_url("url", url, protocol, may_be_empty=True)
