"""The OpenAPI document: it has every route and no other, and its examples are what its schemas say."""

import json
from collections.abc import Iterator
from typing import Any

import jsonschema_rs
import pytest
import schemathesis

from coordinator.api.openapi import openapi_document
from coordinator.model import BranchStatus, Status, TransType
from tests.unit.api.fakes import Http

JSON = "application/json; charset=utf-8"
DOCUMENT = openapi_document("1.2.3")
METHODS = {"get", "put", "post", "delete", "options", "head", "patch", "trace"}


async def test_it_is_served_with_the_version_and_counted(http: Http) -> None:
    status, kind, text = await http.call("GET", "/api/openapi.json")
    assert (status, kind, json.loads(text)) == (200, JSON, DOCUMENT)
    assert DOCUMENT["info"]["version"] == "1.2.3"
    assert http.metric('dtm_server_process_total{api="openapi.json",status="ok",type="http"}') == 1


def test_it_is_openapi_3_1() -> None:
    assert DOCUMENT["openapi"].startswith("3.1.")
    schemathesis.openapi.from_dict(DOCUMENT).validate()


async def test_it_has_every_route_and_no_other(http: Http) -> None:
    # A route of any method is described once, as a GET.
    routes = {("GET" if method == "*" else method, path) for method, path in http.routes}
    assert {(method.upper(), path) for method, path, _ in operations()} == routes


async def test_every_call_that_can_be_refused_says_so(http: Http) -> None:
    described = {(method.upper(), path): it["responses"].keys() for method, path, it in operations()}
    for (method, path), needs in http.routes.items():
        answers = {"401", "403"} & described[method.replace("*", "GET"), path]
        assert answers == (set() if needs.is_open else {"401", "403"}), path


def operations() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, item in DOCUMENT["paths"].items():
        for method in METHODS & item.keys():
            yield method, path, item[method]


def test_every_operation_is_explained() -> None:
    named = [operation["operationId"] for _, _, operation in operations()]
    assert len(named) == len(set(named))
    tags = {tag["name"] for tag in DOCUMENT["tags"]}
    for _, path, operation in operations():
        assert operation["summary"], path
        assert set(operation["tags"]) <= tags, path
        assert all(resolved(answer)["description"] for answer in operation["responses"].values()), path


def test_every_reference_leads_somewhere() -> None:
    for reference in references(DOCUMENT):
        resolved({"$ref": reference})


def references(node: Any) -> Iterator[str]:
    match node:
        case dict():
            if isinstance(node.get("$ref"), str):
                yield node["$ref"]
            for value in node.values():
                yield from references(value)
        case list():
            for value in node:
                yield from references(value)


def resolved(node: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in node:
        found: Any = DOCUMENT
        for part in node["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        node = found
    return node


def shown(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any], Any]]:
    """Every example with its schema, whatever it belongs to: a body, an answer, a parameter."""
    match node:
        case {"schema": dict() as schema, **rest}:
            if "example" in rest:
                yield path, schema, rest["example"]
            for name, example in rest.get("examples", {}).items():
                yield f"{path}/{name}", schema, resolved(example)["value"]
        case dict():
            for key, value in node.items():
                yield from shown(value, f"{path}/{key}")
        case list():
            for index, value in enumerate(node):
                yield from shown(value, f"{path}/{index}")


EXAMPLES = list(shown(DOCUMENT))


@pytest.mark.parametrize(("schema", "example"), [it[1:] for it in EXAMPLES], ids=[it[0] for it in EXAMPLES])
def test_an_example_is_what_its_schema_says(schema: dict[str, Any], example: object) -> None:
    whole = {"$ref": "#/$defs/it", "$defs": {"it": schema}, "components": DOCUMENT["components"]}
    jsonschema_rs.Draft202012Validator(whole, validate_formats=True).validate(example)


def test_no_example_is_left_unshown() -> None:
    used = set(references(DOCUMENT))
    for kind in ("examples", "schemas", "responses"):
        for name in DOCUMENT["components"][kind]:
            assert f"#/components/{kind}/{name}" in used, name


def test_its_enumerations_are_those_of_the_model() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    assert schemas["Status"]["enum"] == list(Status)
    assert schemas["TransType"]["enum"] == list(TransType)
    assert schemas["BranchStatus"]["enum"] == list(BranchStatus)
