"""A real Prometheus on conf/prometheus.yml: targets answer, and whatever people look at has data."""

import asyncio
import json
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml

from tests.support import programs
from tests.support.observers import PrometheusServer
from tests.support.ports import HOST, free_port
from tests.support.servers import EtcdServer, program_path
from tests.support.under_test import ROOT, BranchProcess, CoordinatorProcess

CONF = ROOT / "conf"
JOBS = ("user-api", "user-rpc", "score-rpc", "dtm")
WAIT_SECONDS = 90.0
SCORE_LIMIT = 100


@dataclass
class Watched:
    prometheus: PrometheusServer
    api: str  # host:port
    metrics: dict[str, str]  # job → url of its metrics

    async def register(self, score: int) -> int:
        body = {"name": "ann", "gender": "female", "score": score}
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"http://{self.api}/register", json=body) as answer,
        ):
            return answer.status

    async def scraped(self, job: str) -> str:
        async with aiohttp.ClientSession() as session, session.get(self.metrics[job]) as answer:
            assert answer.status == 200
            return await answer.text()


def targets(ports: dict[str, int]) -> str:
    """conf/targets.json with other ports."""
    entries = json.loads((CONF / "targets.json").read_text(encoding="utf-8"))
    for entry in entries:
        entry["targets"] = [f"{HOST}:{ports[entry['labels']['job']]}"]
    return json.dumps(entries)


def often(configuration: str) -> str:
    """The configuration, looking every half second instead of every 15."""
    loaded = yaml.safe_load(configuration)
    loaded["global"] = {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"}
    return yaml.safe_dump(loaded)


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Coordinator and branches on SQLite, registered in etcd, looked at by Prometheus."""
    folder = tmp_path_factory.mktemp("watched")
    ports = {job: free_port() for job in JOBS}
    with ExitStack() as stack:
        try:
            etcd = stack.enter_context(EtcdServer())
            prometheus = PrometheusServer(folder / "prometheus.yml")
        except programs.MissingProgram as error:
            pytest.skip(str(error))
        grpc_port = free_port()
        service = {
            "Driver": "dtm-driver-gozero",
            "Target": f"etcd://{etcd.endpoint}/dtmservice",
            "EndPoint": f"{HOST}:{grpc_port}",
        }
        settings = {"MicroService": service, "HttpPort": ports["dtm"], "GrpcPort": grpc_port}
        coordinator = CoordinatorProcess(folder / "dtm", settings=settings)
        stack.callback(coordinator.close)
        coordinator.start()

        def branch(name: str, job: str, **more: Any) -> BranchProcess:
            port = free_port()
            listen = {"Host": HOST, "Port": port} if name == "api" else {"ListenOn": f"{HOST}:{port}"}
            configuration = {
                "Name": job,
                "Prometheus": {"Host": HOST, "Port": ports[job], "Path": "/metrics"},
                **listen,
                **more,
            }
            process = BranchProcess(name, folder / name, configuration, port=port)
            stack.callback(process.close)
            return process.start()

        user = branch("user", "user-rpc", DataSource=f"sqlite:///{folder}/user.db")
        score = branch(
            "score", "score-rpc", DataSource=f"sqlite:///{folder}/score.db", ScoreLimit=SCORE_LIMIT
        )
        api = branch(
            "api",
            "user-api",
            DtmServer=coordinator.grpc_address,
            UserRpc={"Endpoints": [user.address]},
            ScoreRpc={"Endpoints": [score.address]},
        )
        (folder / "targets.json").write_text(targets(ports))
        (folder / "alerts.yml").write_text((CONF / "alerts.yml").read_text(encoding="utf-8"))
        (folder / "prometheus.yml").write_text(often((CONF / "prometheus.yml").read_text(encoding="utf-8")))
        stack.enter_context(prometheus)
        metrics = {job: f"http://{HOST}:{port}/metrics" for job, port in ports.items()}
        metrics["dtm"] = f"{coordinator.http_url}/api/metrics"
        yield Watched(prometheus, api.address, metrics)


async def until(true: Callable[[], bool], what: Callable[[], object]) -> None:
    """Wait for something that another process does."""
    deadline = time.monotonic() + WAIT_SECONDS
    while not await asyncio.to_thread(true):
        assert time.monotonic() < deadline, await asyncio.to_thread(what)
        await asyncio.sleep(0.1)


def expressions() -> list[str]:
    """What the dashboard's panels and the rules ask. Of an alert, what it compares with its bound."""
    dashboard = json.loads((CONF / "grafana" / "dashboards" / "dtm.json").read_text(encoding="utf-8"))
    shown = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", ())]
    rules = yaml.safe_load((CONF / "alerts.yml").read_text(encoding="utf-8"))
    for rule in (rule for group in rules["groups"] for rule in group["rules"]):
        compared = re.fullmatch(r"(.+) [<>] [\d.]+", rule["expr"].strip())
        assert compared or "record" in rule, f"{rule['alert']} compares with no bound"
        shown.append(compared[1] if compared else rule["expr"])
    return list(dict.fromkeys(shown))


async def test_every_target_is_up(watched: Watched) -> None:
    def health() -> dict[str, str]:
        active = watched.prometheus.ask("targets", state="active")["activeTargets"]
        return {target["labels"]["job"]: target["health"] for target in active}

    await until(lambda: health() == dict.fromkeys(JOBS, "up"), health)


async def test_what_dashboard_and_alerts_ask_has_data_after_a_registration_and_a_rollback(
    watched: Watched,
) -> None:
    asked = [expression.replace("$__rate_interval", "1m") for expression in expressions()]
    assert len(asked) > 30
    missing = dict.fromkeys(asked, "")

    def answered() -> bool:
        for expression in list(missing):
            if watched.prometheus.query(expression):
                del missing[expression]
        return not missing

    assert await watched.register(10) == 200
    assert await watched.register(SCORE_LIMIT + 1) == 409
    await until(answered, lambda: f"no data: {list(missing)}")


async def test_a_coordinator_counts_at_the_final_state(watched: Watched) -> None:
    before = await watched.scraped("dtm")
    assert await watched.register(10) == 200
    assert await watched.register(SCORE_LIMIT + 1) == 409
    after = await watched.scraped("dtm")
    for status in ("ok", "fail"):
        line = re.compile(rf'^dtm_transaction_process_total{{model="saga",status="{status}"}} (\S+)$', re.M)
        first, second = line.search(before), line.search(after)
        assert first and second
        assert float(second[1]) == float(first[1]) + 1
    assert 'dtm_branch_process_total{branchid="02",branchtype="action",model="saga",status="fail"}' in after
    assert "dtm_registered 1.0" in after


@pytest.mark.parametrize(
    ("job", "line"),
    [
        ("user-api", 'http_server_requests_duration_ms_count{method="POST",path="/register"}'),
        ("user-api", 'http_server_requests_code_total{code="409",method="POST",path="/register"}'),
        ("user-rpc", 'rpc_server_requests_duration_ms_bucket{le="1000.0",method="/user.User/saveUser"}'),
        ("user-rpc", 'rpc_server_requests_code_total{code="0",method="/user.User/saveUserCallback"}'),
        (
            "score-rpc",
            'rpc_server_requests_code_total{code="10",method="/userscore.UserScore/saveUserScore"}',
        ),
    ],
)
async def test_branches_have_go_zeros_names(watched: Watched, job: str, line: str) -> None:
    assert await watched.register(SCORE_LIMIT + 1) == 409
    assert line in await watched.scraped(job)


@pytest.mark.parametrize("arguments", [("config", "prometheus.yml"), ("rules", "alerts.yml")], ids=str)
def test_promtool_finds_nothing_wrong(arguments: tuple[str, str]) -> None:
    try:
        programs.require(programs.PROMETHEUS)
    except programs.MissingProgram as error:
        pytest.skip(str(error))
    command = [program_path("promtool"), "check", arguments[0], str(CONF / arguments[1])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_likes_the_names_and_types_of_what_is_scraped(watched: Watched, tmp_path: Path) -> None:
    text = asyncio.run(watched.scraped("dtm"))
    command = [program_path("promtool"), "check", "metrics"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    wrong = [line for line in done.stderr.splitlines() if "parse" in line or "no help" in line]
    assert wrong == [], done.stderr
