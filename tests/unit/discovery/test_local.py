"""`local://name`: which names there can be, and what is said where nobody has the function."""

import pytest

from coordinator.calls.branch_urls import BranchUrls
from coordinator.calls.places import Places
from coordinator.calls.router import BranchCaller
from coordinator.calls.url import endpoint_named
from coordinator.client import InvalidUse
from coordinator.client.patterns.workflow_rows import url_name
from coordinator.client.transport.checks import check_url, check_url_called_from_here
from coordinator.discovery.base import Resolver
from coordinator.discovery.local import function_of, is_local
from coordinator.discovery.open import open_resolver
from coordinator.errors import InvalidTopic
from coordinator.model import Branch, Result, Status, Transaction
from coordinator.service.validate import require_subscription

OTHERS = "names a function of a program that has its coordinator inside, which alone can call it"


@pytest.mark.parametrize("name", ["charge", "_x", "bank.charge-2", "a" * 100])
def test_names(name: str) -> None:
    assert is_local(f"local://{name}")
    assert function_of(f"local://{name}") == name


@pytest.mark.parametrize("name", ["", "1st", "a/b", "a?b=c", "a b", "ä", "a" * 101, "charge/"])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(ValueError, match="names no function: write local:// and its name"):
        function_of(f"local://{name}")
    with pytest.raises(InvalidUse, match="names no function"):
        check_url("action", f"local://{name}", "http")


@pytest.mark.parametrize("protocol", ["http", "grpc", "json-rpc"])
@pytest.mark.parametrize("url", ["local://charge", "local://bank.Bank/Charge/x"])
def test_a_server_refuses_it_and_says_where_to_submit(url: str, protocol: str) -> None:
    assert BranchUrls(Places()).problem(url, protocol).startswith(f"{OTHERS}: submit there, or give the url")


@pytest.mark.parametrize("protocol", ["http", "grpc"])
def test_a_program_takes_its_own_functions_and_refuses_others(protocol: str) -> None:
    urls = BranchUrls(Places(), {"charge", "refund"})
    assert urls.problem("local://charge", protocol) == ""
    assert urls.problem("local://chrage", protocol).startswith(
        "names no function of this program, which has charge, refund: give it to functions="
    )
    assert "names no function: write" in urls.problem("local://a/b", protocol)
    require_subscription("orders", "local://charge", "", urls)
    with pytest.raises(InvalidTopic, match="names no function of this program"):
        require_subscription("orders", "local://other", "", urls)


@pytest.mark.parametrize("protocol", ["http", "grpc", "json-rpc"])
@pytest.mark.parametrize("mark", ["", "result+", "result+from-result+"])
async def test_a_server_that_takes_one_up_knows_nothing_of_it_and_never_says_failure(
    protocol: str, mark: str
) -> None:
    resolver: Resolver = open_resolver()
    caller = BranchCaller(resolver)
    transaction = Transaction("g1", "saga", Status.SUBMITTED, protocol=protocol)
    branch = Branch("g1", "01", "action", f"{mark}local://charge?method=x")
    answer = await caller.call(transaction, branch, timeout=1)
    assert answer.result is Result.UNKNOWN
    assert answer.text.startswith(f"the url 'local://charge?method=x' {OTHERS}")
    assert "is done when such a program takes it up" in answer.text
    assert caller.endpoint(transaction, branch) == ""
    await caller.close()
    await resolver.close()


def test_a_function_is_an_endpoint_that_can_be_held() -> None:
    assert endpoint_named(" local://charge ") == "local://charge"
    with pytest.raises(ValueError, match="names no function"):
        endpoint_named("local://a/b")


def test_a_step_of_a_workflow_is_called_by_the_functions_name() -> None:
    check_url_called_from_here("url", "local://charge")
    assert url_name("local://charge") == "charge"
