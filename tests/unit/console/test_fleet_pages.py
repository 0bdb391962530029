"""The pages of endpoints, topics, coordinators, the record and the settings, without script."""

import re
from collections.abc import AsyncIterator
from html import unescape
from pathlib import Path
from urllib.parse import quote

import pytest
from aiohttp import ClientSession

from coordinator.config.settings import Settings
from coordinator.config.store import Store
from coordinator.server.server import Server
from tests.support.ports import free_port
from tests.unit.console.test_bulk import HOST, Person

BANK = f"/endpoints/{quote('http://bank:8080', safe='')}"


@pytest.fixture
async def person(tmp_path: Path) -> AsyncIterator[Person]:
    settings = Settings(
        host=HOST, http_port=free_port(), grpc_port=free_port(), store=Store(path=tmp_path / "dtm.db")
    )
    server = Server(settings, reset=False, sources={"HttpPort": "conf.yml:3", "RetryInterval": "conf.yml:9"})
    await server.start()
    try:
        async with ClientSession() as session:
            yield Person(session, f"http://{HOST}:{settings.http_port}")
    finally:
        await server.stop()


async def test_an_endpoint_is_held_after_a_look_at_what_it_means_and_released(person: Person) -> None:
    status, text = await person.see("/endpoints/find", endpoint="http://bank:8080/pay")
    assert (status, "no calls in 5 minutes" in text) == (200, True)
    status, text = await person.see(f"{BANK}/hold", minutes="30", reason="its <b>rack</b> is moved")
    assert status == 200
    for words in ("Hold this endpoint?", "A Go server on the same database", "&lt;b&gt;rack"):
        assert words in text
    assert "held until" not in (await person.see("/endpoints"))[1], "a look changes nothing"
    status, path, text = await person.press(f"{BANK}/hold", minutes="30", reason="moved")
    assert (status, path) == (200, "/endpoints/http://bank:8080")
    assert "Held by anybody until" in text
    assert "held until" in (await person.see("/endpoints"))[1]
    status, path, text = await person.press(f"{BANK}/release", reason="it is back")
    assert "Held by" not in text
    status, text = await person.see("/audit")
    assert status == 200
    for words in ("Hold an endpoint", "Release an endpoint", "http://bank:8080", "it is back"):
        assert words in text


@pytest.mark.parametrize(
    ("minutes", "reason", "says"),
    [
        ("0", "moved", "minutes: must be from 1"),
        ("soon", "moved", "minutes: must be a number"),
        ("5", "", "reason: say why"),
    ],
)
async def test_what_is_typed_wrong_is_said_beside_the_form(
    person: Person, minutes: str, reason: str, says: str
) -> None:
    status, text = await person.see(f"{BANK}/hold", minutes=minutes, reason=reason)
    assert (status, says in text) == (400, True)
    status, _, text = await person.press(f"{BANK}/hold", minutes=minutes, reason=reason)
    assert (status, says in text) == (400, True)
    status, _, text = await person.press(f"{BANK}/release")
    assert (status, "is not held" in text) == (409, True)


async def test_a_topic_is_made_shown_and_deleted(person: Person) -> None:
    assert "There is no topic yet" in (await person.see("/topics"))[1]
    wanted = {"topic": "orders/eu", "url": "http://mail:9000/send", "remark": "the <mail>"}
    status, path, text = await person.press("/topics", **wanted)
    assert (status, path) == (200, "/topics/orders/eu")
    assert "http://mail:9000/send" in text and "the &lt;mail&gt;" in text
    status, _, text = await person.press("/topics", **wanted)
    assert (status, "this url exists" in text) == (400, True)
    one = f"/topics/{quote('orders/eu', safe='')}"
    assert "with one subscriber" in (await person.see(f"{one}/delete"))[1]
    assert "Nobody is subscribed" in (await person.press(f"{one}/unsubscribe", url=wanted["url"]))[2]
    status, path, text = await person.press(f"{one}/delete")
    assert (status, path, "There is no topic yet" in text) == (200, "/topics", True)
    assert (await person.see(one))[0] == 404


async def test_coordinators_and_settings_are_shown(person: Person) -> None:
    status, text = await person.see("/nodes")
    assert (status, "1 of 1 coordinators live" in text) == (200, True)
    status, text = await person.see("/settings")
    assert (status, "Store.Driver" in text) == (200, True)
    assert "settings differ from the default" in text
    rows = {row.partition('"')[0]: row for row in text.split('data-row="')[1:]}
    assert "conf.yml:3" in rows["HttpPort"] and "as by default" not in rows["HttpPort"]
    assert "conf.yml:9" in rows["RetryInterval"] and "as by default" in rows["RetryInterval"]
    assert ">default<" in rows["LogLevel"]
    assert "set by the program" in rows["InstanceName"]


async def test_the_record_is_looked_through_for_words(
    person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2, 3):
        await person.press("/topics", topic=f"orders/{number}", url="http://mail:9000/send", remark="")

    async def found(**query: str) -> tuple[list[str], str]:
        status, text = await person.see("/audit", **query)
        assert status == 200
        return re.findall(r"orders/(\d)", text.partition("<tbody>")[2]), text

    assert (await found())[0] == ["3", "2", "1"]
    assert (await found(filter="ORDERS/2 anybody"))[0] == ["2"]
    assert "There is no record with all of these words" in (await found(filter="orders/2 100%"))[1]
    for module in ("coordinator.store.operate_tables", "coordinator.console.fleet"):
        monkeypatch.setattr(f"{module}.AUDIT_WINDOW", 2)
    numbers, text = await found(filter="orders")
    assert (numbers, "These 2 records were looked at" in text) == (["3", "2"], True)
    further = unescape(re.findall(r'rel="next" href="([^"]*)"', text)[0])
    assert re.findall(r"orders/(\d)", (await person.see(further))[1]) == ["1"]
