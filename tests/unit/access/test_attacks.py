"""Ways around the gate that others have left open, one by one, over real ports."""

import asyncio
import json
from collections.abc import AsyncIterator
from itertools import product

import pytest

from coordinator.access.browser import OurHosts
from coordinator.access.gate import Gate
from coordinator.access.permissions import ROLES, Mode, Principal, Role
from tests.unit.access.calls import KnownTokens, grpc_call, http_call
from tests.unit.api.fakes import HOST, Grpc, Http, grpc_api, http_api

SHOP = Principal("shop", ROLES[Role.SERVICE], "token", gid_prefix="shop-")
STOP = "/api/dtmsvr/forceStop"
BODY = '{"gid":"g1","trans_type":"saga"}'
NO = {401, 403, 404}


@pytest.fixture
async def http() -> AsyncIterator[Http]:
    async with http_api(gate=Gate(Mode.ALL, tokens=KnownTokens({"dtm_shop": SHOP}))) as one:
        yield one


@pytest.fixture
async def grpc() -> AsyncIterator[Grpc]:
    async with grpc_api(gate=Gate(Mode.ALL, tokens=KnownTokens({"dtm_shop": SHOP}))) as one:
        yield one


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def raw(http: Http, head: str, body: str = "") -> tuple[int, str]:
    """A request byte by byte: no client changes its path or headers."""
    reader, writer = await asyncio.open_connection(HOST, http.port)
    writer.write(
        f"{head}Host: {HOST}\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
    )
    answer = (await asyncio.wait_for(reader.read(), 30)).decode()
    writer.close()
    return int(answer.split(" ")[1]), answer


# ---- paths and methods ---------------------------------------------------------------------------

PATHS = [
    *("/api/dtmsvr/forceStop/", "//api/dtmsvr/forceStop", "/api//dtmsvr/forceStop", "/api/dtmsvr//forceStop"),
    *(
        "/api/dtmsvr/%66orceStop",
        "/api/dtmsvr/./forceStop",
        "/api/dtmsvr/x/../forceStop",
        "/API/DTMSVR/FORCESTOP",
    ),
    *("/api/dtmsvr/%2e/forceStop", "/api/dtmsvr/x/%2e%2e/forceStop", "/api/dtmsvr%2fforceStop"),
    *(
        "/api/dtmsvr/forcestop",
        "/api/dtmsvr/forceStop;a=b",
        "/api/dtmsvr/forceStop%00",
        "/api/dtmsvr/forceStop%20",
    ),
    *("/api/ping/../dtmsvr/forceStop", "/api/ping?/../dtmsvr/forceStop", "http://x/api/dtmsvr/forceStop"),
    *("/api/dtmsvr/topic/../forceStop", "/api/dtmsvr/topic/..%2fforceStop", "/api/dtmsvr/forceStop#"),
]


async def test_no_other_way_to_write_a_path_leads_past_the_gate(http: Http):
    for method, path in product(("POST", "DELETE"), PATHS):
        status, _ = await raw(http, f"{method} {path} HTTP/1.1\r\n", BODY)
        assert status in NO or (path.startswith("/api/ping?") and status == 200), path
    assert http.service.asked == []


GRPC_PATHS = [
    *("/dtmgimp.Dtm/DeleteTopic/", "//dtmgimp.Dtm/DeleteTopic", "/dtmgimp.Dtm//DeleteTopic"),
    *("/dtmgimp.Dtm/deletetopic", "/DTMGIMP.DTM/DELETETOPIC", "/dtmgimp.Dtm/DeleteTopic?a=b"),
    *("/dtmgimp.Dtm/%44eleteTopic", "/dtmgimp.Dtm/./DeleteTopic", "/x/../dtmgimp.Dtm/DeleteTopic"),
    *("dtmgimp.Dtm/DeleteTopic", "/dtmgimp.Dtm%2fDeleteTopic", "/dtmgimp.Dtm/DeleteTopic%00", "/", ""),
    "/grpc.health.v1.Health/../dtmgimp.Dtm/DeleteTopic",
]


async def test_nor_of_a_grpc_method(grpc: Grpc):
    for path, token in product(GRPC_PATHS, ("", "dtm_admin")):
        status, said = await grpc_call(grpc, path, [*bearer(token).items()] if token else [])
        assert status != 0, (path, said)
    assert grpc.service.asked == []


@pytest.mark.parametrize("name", ["X-HTTP-Method-Override", "X-HTTP-Method", "X-Method-Override"])
async def test_no_header_makes_another_call_of_an_open_one(http: Http, name: str):
    for path in ("/api/ping", "/api/dtmsvr/version"):
        await raw(
            http,
            f"GET {path} HTTP/1.1\r\n{name}: POST\r\nX-Original-URL: {STOP}\r\nX-Rewrite-URL: {STOP}\r\n",
        )
    for method in ("GET", "HEAD", "PUT", "PATCH", "OPTIONS", "TRACE", "post"):
        assert (await raw(http, f"{method} {STOP} HTTP/1.1\r\n{name}: POST\r\n", BODY))[0] in {*NO, 400}
    assert http.service.asked == []


async def test_head_is_asked_for_the_same_as_get(http: Http):
    for path in ("/api/dtmsvr/all", "/api/dtmsvr/subscribe?topic=t&url=u", "/api/dtmsvr/query?gid=g"):
        assert (await http_call(http, "HEAD", path, None))[0] == 401
    assert http.service.asked == []
    assert (await http_call(http, "HEAD", "/api/dtmsvr/all", None, bearer("dtm_viewer")))[0] == 200


# ---- credentials ---------------------------------------------------------------------------------

BAD = [
    *("", "Bearer", "Bearer ", "Bearer nobodys", "bearer dtm_nobodys", "dtm_admin", "Basic dtm_admin"),
    *("Basic ZHRtX2FkbWluOg==", "Token dtm_admin", "Bearer: dtm_admin", "Bearer dtm_admin dtm_admin"),
    *("Bearer dtm_admi", "Bearer dtm_adminn", "Bearer DTM_ADMIN", "Bearer dtm_admin,", 'Bearer "dtm_admin"'),
    *("Bearer dtm_viewer, Bearer dtm_admin", "Bearer\xa0dtm_admin", "Bearer dtm_ädmin"),
]


async def test_what_is_no_good_token_is_none(http: Http, grpc: Grpc):
    for value in BAD:
        status, _ = await raw(http, f"POST {STOP} HTTP/1.1\r\nAuthorization: {value}\r\n", BODY)
        assert status == 401, value
        if value and value.isascii():  # our client can send no other metadata
            metadata = [("authorization", value)]
            assert (await grpc_call(grpc, "/dtmgimp.Dtm/DeleteTopic", metadata))[0] == 16, value
    assert http.service.asked == grpc.service.asked == []


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
async def test_the_scheme_is_written_in_any_case(http: Http, scheme: str):
    status, _ = await http_call(http, "POST", STOP, BODY, {"Authorization": f"{scheme}  dtm_admin"})
    assert status == 200


@pytest.mark.parametrize("second", ["Bearer dtm_admin", "Bearer dtm_viewer", "Basic eDp5", ""])
async def test_two_credentials_at_once_are_none(http: Http, grpc: Grpc, second: str):
    twice = f"Authorization: Bearer dtm_admin\r\nauthorization: {second}\r\n"
    status, answer = await raw(http, f"POST {STOP} HTTP/1.1\r\n{twice}", BODY)
    assert status == 401
    assert "more than one Authorization" in answer
    metadata = [("authorization", "Bearer dtm_admin"), ("authorization", second or "-")]
    status, said = await grpc_call(grpc, "/dtmgimp.Dtm/DeleteTopic", metadata)
    assert (status, "more than one Authorization" in said) == (16, True)
    assert http.service.asked == grpc.service.asked == []


@pytest.mark.parametrize("name", ["token", "access_token", "authorization", "Authorization", "api_key"])
async def test_a_token_in_the_query_or_the_body_is_none(http: Http, name: str):
    body = json.dumps({"gid": "g1", name: "Bearer dtm_admin"})
    for value in ("dtm_admin", "Bearer%20dtm_admin"):
        assert (await http_call(http, "POST", f"{STOP}?{name}=dtm_admin", body))[0] == 401
        assert (await http_call(http, "GET", f"/api/dtmsvr/all?{name}={value}", None))[0] == 401
    assert http.service.asked == []


@pytest.mark.parametrize("name", ["X-Authorization", "Proxy-Authorization", "Cookie", "X-Forwarded-User"])
async def test_no_other_header_is_a_credential(http: Http, grpc: Grpc, name: str):
    assert (await http_call(http, "POST", STOP, BODY, {name: "Bearer dtm_admin"}))[0] == 401
    metadata = [(name, "Bearer dtm_admin"), ("dtm-authorization", "Bearer dtm_admin")]
    metadata.append(("authorization-bin", b"Bearer dtm_admin"))  # type: ignore[arg-type]
    assert (await grpc_call(grpc, "/dtmgimp.Dtm/DeleteTopic", metadata))[0] == 16


async def test_branch_headers_never_authenticate(http: Http):
    body = {"gid": "g1", "trans_type": "saga", "branch_headers": bearer("dtm_admin")}
    assert (await http_call(http, "POST", "/api/dtmsvr/submit", json.dumps(body)))[0] == 401
    assert http.service.asked == []


# ---- JSON-RPC ------------------------------------------------------------------------------------


async def test_json_rpc_decides_whatever_the_id(http: Http):
    identifiers = ("1", '"1"', "1.5", "null", '""', "[]", '"dtm_admin"', "true")
    for identifier, method in product(identifiers, ("submit", "newGid", "nonsense")):
        body = f'{{"jsonrpc":"2.0","id":{identifier},"method":"{method}","params":{BODY}}}'
        for sent in (body, f"[{body}]"):
            assert (await http_call(http, "POST", "/api/json-rpc", sent))[0] == 401
            assert (await http_call(http, "POST", "/api/json-rpc", sent, bearer("dtm_viewer")))[0] == 403
    assert http.service.asked == []


# ---- gids that are others' -----------------------------------------------------------------------

OTHERS = ["other", "SHOP-1", " shop-1", "sho", "", "shop", "ѕhop-1"]


async def test_a_token_with_a_prefix_is_for_its_own_gids(http: Http):
    """Of a key given twice the one that counts is looked at."""
    names = ("prepare", "submit", "abort", "registerBranch", "prepareWorkflow")
    for gid, name in product(OTHERS, names):
        body = f'{{"gid":"shop-1","gid":"{gid}","trans_type":"tcc","branch_id":"01"}}'
        status, _ = await http_call(http, "POST", f"/api/dtmsvr/{name}", body, bearer("dtm_shop"))
        assert status in {403, 400, 500}, (name, gid)
        rpc = f'{{"jsonrpc":"2.0","id":1,"method":"{name}","params":{body}}}'
        status, _ = await http_call(http, "POST", "/api/json-rpc", rpc, bearer("dtm_shop"))
        assert status in {403, 200}, (name, gid)
    assert http.service.asked == []


async def test_a_prefix_leaves_the_own_ones_alone(http: Http, grpc: Grpc):
    mine = bearer("dtm_shop")
    body = '{"gid":"shop-1","trans_type":"saga"}'
    assert (await http_call(http, "POST", "/api/dtmsvr/submit", body, mine))[0] == 200
    assert (await http_call(http, "GET", "/api/dtmsvr/query?gid=shop-1", None, mine))[0] == 200
    assert (await http_call(http, "GET", "/api/dtmsvr/query?gid=other&gid=shop-1", None, mine))[0] == 403
    _, text = await http_call(http, "GET", "/api/dtmsvr/newGid", None, mine)
    assert json.loads(text)["gid"] == "shop-gid-1"
    _, text = await http_call(
        http, "POST", "/api/json-rpc", '{"jsonrpc":"2.0","id":1,"method":"newGid"}', mine
    )
    assert json.loads(text)["result"]["gid"] == "shop-gid-1"
    assert (await grpc_call(grpc, "/dtmgimp.Dtm/Submit", [*mine.items()]))[0] == 7  # an empty gid


# ---- browsers ------------------------------------------------------------------------------------

CHANGES = [
    ("POST", "submit"),
    ("POST", "forceStop"),
    ("GET", "subscribe?topic=t&url=u"),
    ("GET", "resetCronTime"),
]
PAGE = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site", "Content-Type": "text/plain"}


@pytest.mark.parametrize("mode", Mode)
async def test_a_page_of_another_site_changes_nothing_in_any_mode(mode: Mode):
    async with http_api(gate=Gate(mode, tokens=KnownTokens())) as http:
        for method, name in (*CHANGES, ("HEAD", "subscribe?topic=t&url=u"), ("DELETE", "topic/t")):
            http.service.asked.clear()
            headers = {**PAGE, **bearer("dtm_admin")}
            status, _ = await http_call(http, method, f"/api/dtmsvr/{name}", BODY, headers)
            assert (status, http.service.asked) == (403, [])
            status, _ = await http_call(http, method, f"/api/dtmsvr/{name}", BODY, bearer("dtm_admin"))
            assert (status, len(http.service.asked)) == (200, 1)


async def test_json_rpc_and_an_image_are_no_way_either():
    async with http_api() as http:
        body = f'{{"jsonrpc":"2.0","id":1,"method":"submit","params":{BODY}}}'
        assert (await http_call(http, "POST", "/api/json-rpc", body, PAGE))[0] == 403
        image = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}
        path = "/api/dtmsvr/subscribe?topic=t&url=u"
        status, said = await http_call(http, "GET", path, None, image)
        assert (status, http.service.asked) == (403, [])
        assert "a page of another site" in said


async def test_a_name_that_leads_to_loopback_by_a_trick_is_not_answered():
    async with http_api(gate=Gate(hosts=OurHosts(["dtm.example"]))) as http:
        for host in ("evil.example", f"evil.example:{http.port}"):
            for path in ("/api/dtmsvr/query?gid=g", "/api/dtmsvr/all", "/api/openapi.json"):
                status, said = await http_call(http, "GET", path, None, {"Host": host})
                assert status == 403
                assert "Access.Origins" in said
            assert (await http_call(http, "GET", "/api/ready", None, {"Host": host}))[0] == 200
        assert http.service.asked == []
        for host in (f"localhost:{http.port}", "127.0.0.1", "[::1]:1", "dtm.example"):
            assert (await http_call(http, "GET", "/api/dtmsvr/query?gid=g", None, {"Host": host}))[0] == 200


async def test_answers_are_not_kept_and_are_what_they_say_they_are(http: Http):
    for path, headers in (
        ("/api/ping", {}),
        ("/api/dtmsvr/all", bearer("dtm_viewer")),
        (STOP, {}),
        ("/x", {}),
    ):
        async with http.session.get(f"{http.url}{path}", headers=headers) as answer:
            assert answer.headers["Cache-Control"] == "no-store"
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
    _, answer = await raw(http, "NONSENSE\r\n")
    assert "X-Content-Type-Options: nosniff" in answer
