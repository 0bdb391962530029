"""Topics: who gets their messages; subscribing, unsubscribing, deleting."""

from collections.abc import Sequence
from typing import Final

from coordinator.access.permissions import Permission, changes, looks
from coordinator.api.listing import position
from coordinator.console.page import Content, Page, SeeOther, Shown, Visit, path_to
from coordinator.discovery.logins import shown_url
from coordinator.errors import Invalid
from coordinator.service.topics import Topics

_TOPICS: Final = 50
_ONE: Final = "/topics/{topic}"


class TopicPages:
    """The list, one topic, and what their forms ask for."""

    def __init__(self, topics: Topics) -> None:
        self._topics = topics

    def all(self) -> Sequence[Page]:
        """The pages."""
        read, change = looks(Permission.READ), changes(Permission.TOPICS)
        return (
            Page("GET", "/topics", read, self._list, place=40),
            Page("POST", "/topics", change, self._subscribe),
            Page("GET", _ONE, read, self._one),
            Page("GET", f"{_ONE}/delete", read, self._ask),
            Page("POST", f"{_ONE}/delete", change, self._delete),
            Page("POST", f"{_ONE}/unsubscribe", change, self._unsubscribe),
        )

    async def _list(self, visit: Visit) -> Content:
        return await self._listed(visit)

    async def _listed(self, visit: Visit, problem: str = "", status: int = 200) -> Shown:
        before_id = position({"position": visit.query.get("after", "")})
        found = await self._topics.listed(limit=_TOPICS + 1, before_id=before_id)
        after = str(found[_TOPICS - 1].id) if len(found) > _TOPICS else ""
        values = {"found": found[:_TOPICS], "after": after, "problem": problem, "form": visit.form}
        return Shown("topics.html", values, status)

    async def _subscribe(self, visit: Visit) -> Content:
        form = visit.form
        topic, url = form.get("topic", "").strip(), form.get("url", "").strip()
        try:
            await self._topics.subscribe(topic, url, form.get("remark", ""), visit.actor)
        except Invalid as error:
            return await self._listed(visit, error.message, 400)
        return SeeOther(path_to("topics", topic))

    async def _one(self, visit: Visit) -> Content:
        return await self._shown(visit)

    async def _shown(self, visit: Visit, problem: str = "", status: int = 200) -> Shown:
        topic = visit.values["topic"]
        found = await self._topics.named(topic)
        url = _whole if visit.may(Permission.READ_PAYLOAD) else shown_url
        values = {"topic": topic, "found": found, "url": url, "problem": problem}
        return Shown("topic.html", values, status if found else 404)

    async def _ask(self, visit: Visit) -> Content:
        topic = visit.values["topic"]
        return Shown("topic_delete.html", {"topic": topic, "found": await self._topics.named(topic)})

    async def _delete(self, visit: Visit) -> Content:
        try:
            await self._topics.delete(visit.values["topic"], visit.actor)
        except Invalid as error:
            return await self._shown(visit, error.message, 400)
        return SeeOther("/topics")

    async def _unsubscribe(self, visit: Visit) -> Content:
        topic = visit.values["topic"]
        try:
            await self._topics.unsubscribe(topic, visit.form.get("url", ""), visit.actor)
        except Invalid as error:
            return await self._shown(visit, error.message, 400)
        return SeeOther(path_to("topics", topic))


def _whole(url: str) -> str:
    return url
