"""The OpenAPI document of the HTTP API: `openapi.yaml` beside this, with the version filled in."""

import asyncio
from importlib import resources
from typing import Any

import orjson
import yaml


def openapi_document(version: str) -> dict[str, Any]:
    """Return the document, as JSON has it. version: of the coordinator.

    Takes 30 ms, without libyaml 200: keep it.
    """
    text = resources.files(__package__).joinpath("openapi.yaml").read_text(encoding="utf-8")
    document: dict[str, Any] = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    document["info"]["version"] = version
    return document


class OpenapiJson:
    """The document's bytes, made when they are first asked for: most coordinators never are."""

    def __init__(self, version: str) -> None:
        """version: of the coordinator."""
        self._version = version
        self._bytes: bytes | None = None

    async def get(self) -> bytes:
        """Return it; the first time from a thread, so that nothing else waits for it."""
        if self._bytes is None:
            self._bytes = orjson.dumps(await asyncio.to_thread(openapi_document, self._version))
        return self._bytes
