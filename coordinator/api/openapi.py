"""The OpenAPI document of the HTTP API: `openapi.yaml` beside this, with the version filled in."""

from importlib import resources
from typing import Any

import yaml


def openapi_document(version: str) -> dict[str, Any]:
    """Return the document, as JSON has it. version: of the coordinator.

    Takes 10 ms, without libyaml 90: keep it.
    """
    text = resources.files(__package__).joinpath("openapi.yaml").read_text(encoding="utf-8")
    document: dict[str, Any] = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    document["info"]["version"] = version
    return document
