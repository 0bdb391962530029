"""Dockerfile and docker-compose.yml name only what is in this repository. No Docker engine is needed."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from coordinator.cli import health
from coordinator.cli.main import main
from coordinator.config.read import load_settings
from coordinator.config.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
COMPOSE_FILE = ROOT / "conf" / "docker-compose.yml"
COMPOSE = yaml.safe_load(COMPOSE_FILE.read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
BRANCHES = ("user", "score", "api")
WATCHERS = ("prometheus", "jaeger", "grafana")
CONFIGURATION_IN_IMAGE = "/etc/dtm/conf"


def instructions() -> list[tuple[str, str]]:
    """Return the Dockerfile's instructions: word, rest of the line."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    text = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split()[0], line.partition(" ")[2].strip()) for line in text.splitlines() if line.strip()]


def all_of(word: str) -> list[str]:
    return [rest for found, rest in instructions() if found == word]


def in_repository(path_in_image: str) -> Path:
    """Return the file of this repository that the image has at that path."""
    assert path_in_image.startswith(CONFIGURATION_IN_IMAGE)
    return ROOT / "conf" / path_in_image.removeprefix(CONFIGURATION_IN_IMAGE + "/")


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").is_file() or (path / "__main__.py").is_file()


def after(command: list[str], flag: str) -> str:
    return command[command.index(flag) + 1]


def test_everything_that_the_image_copies_is_there_and_not_ignored():
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    allowed = {line[1:] for line in ignored if line.startswith("!")}
    sources = {
        source for rest in all_of("COPY") if not rest.startswith("--from") for source in rest.split()[:-1]
    }
    assert sources == allowed
    assert all((ROOT / source).exists() for source in sources)
    assert f"conf {CONFIGURATION_IN_IMAGE}" in all_of("COPY")


def test_the_image_runs_dtm_as_an_ordinary_user_with_a_health_check():
    assert all_of("USER") == ["dtm"]
    assert json.loads(all_of("ENTRYPOINT")[-1]) == ["dtm"]
    assert all_of("CMD") == []
    check = all_of("HEALTHCHECK")[0]
    program, *words = json.loads(check.partition("CMD ")[2])
    assert (program, words) == ("dtm", ["health", "--pid", "1"])


def test_what_was_written_for_the_image_of_the_go_server_starts_this_one():
    """Its program is /app/dtm/dtm, and charts give `args: ["-c=/app/dtm/configs/config.yaml"]`."""
    assert "mkdir -p /app/dtm/configs && ln -s /opt/dtm/bin/dtm /app/dtm/dtm" in all_of("RUN")
    words = ["-c=/app/dtm/configs/config.yaml"]
    context = main.make_context("dtm", words, resilient_parsing=True)
    assert context.params["file"] == Path("/app/dtm/configs/config.yaml")


def test_the_health_check_asks_where_the_first_process_listens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    file = tmp_path / "config.yaml"
    file.write_text("HttpPort: 7\n", encoding="utf-8")
    monkeypatch.setattr(health, "words_of_process", lambda pid: [f"-c={file}"] if pid == 1 else [])
    monkeypatch.setattr(health, "health_of", lambda settings: (True, f"port {settings.http_port}"))
    for pid, port in (("1", 7), ("2", Settings().http_port)):
        assert CliRunner().invoke(main, ["health", "--pid", pid]).output == f"port {port}\n"


def test_the_image_exposes_the_ports_that_are_the_defaults():
    assert all_of("EXPOSE") == [f"{Settings().http_port} {Settings().grpc_port}"]


def test_the_image_listens_on_all_addresses_whether_it_has_a_file_or_not():
    [variables] = all_of("ENV")
    assert "DTM_HOST=0.0.0.0" in variables.split()


def test_images_are_named_without_a_registry():
    names = [rest.split()[0] for rest in all_of("FROM")]
    names += [service["image"] for service in SERVICES.values() if "image" in service]
    for name in names:
        first, slash, _ = name.partition("/")
        assert not (slash and ("." in first or ":" in first)), name


def test_compose_has_every_part_of_the_picture():
    assert set(SERVICES) == {"mysql", "etcd", "coordinator", *BRANCHES, *WATCHERS}


def test_compose_waits_for_services_that_have_a_health_check():
    for service in SERVICES.values():
        for name in service.get("depends_on", {}):
            # the coordinator's is in the image; who looks waits for nobody
            assert "healthcheck" in SERVICES[name] or name in {"coordinator", *WATCHERS}


def test_compose_mounts_files_that_exist_and_volumes_that_are_declared():
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in COMPOSE["volumes"] or (COMPOSE_FILE.parent / source).exists(), volume


def test_compose_builds_the_image_from_this_repository():
    context = SERVICES["coordinator"]["build"]["context"]
    assert (COMPOSE_FILE.parent / context / "Dockerfile").resolve() == ROOT / "Dockerfile"


def test_the_coordinator_starts_with_its_configuration():
    command = SERVICES["coordinator"]["command"]
    assert "entrypoint" not in SERVICES["coordinator"]
    settings = load_settings(in_repository(after(command, "-c")), {}).settings
    assert settings.store.driver == "mysql"
    assert settings.store.host in SERVICES
    assert (
        settings.store.password.get_secret_value() == SERVICES["mysql"]["environment"]["MYSQL_ROOT_PASSWORD"]
    )
    assert settings.micro_service.end_point == f"coordinator:{settings.grpc_port}"
    published = {port.split(":")[1] for port in SERVICES["coordinator"]["ports"]}
    assert published == {str(settings.http_port), str(settings.grpc_port)}


@pytest.mark.parametrize("name", BRANCHES)
def test_a_branch_is_a_module_with_a_configuration_for_its_port(name: str):
    command = SERVICES[name]["command"]
    assert SERVICES[name]["entrypoint"] == ["python"]
    assert after(command, "-m") == f"branches.{name}"
    assert is_module(f"branches.{name}")
    text = in_repository(after(command, "-f")).read_text(encoding="utf-8")
    configuration = yaml.safe_load(text)
    listen_on = configuration.get("ListenOn", "")
    port = configuration["Port"] if "Port" in configuration else int(listen_on.rpartition(":")[2])
    check = SERVICES[name]["healthcheck"]["test"][-1]
    compile(check, "health check", "exec")
    assert f"'127.0.0.1', {port})" in check
    # every other machine that it talks to is a service of this file
    for host in re.findall(r"(?:@tcp\(|//|[\s,\[])([a-z]+):(?:3306|2379|36789|36790|14268)", text):
        assert host in SERVICES


def test_the_api_is_published():
    assert SERVICES["api"]["ports"] == ["8888:8888"]


def test_prometheus_asks_every_program_where_it_answers():
    targets = json.loads((COMPOSE_FILE.parent / "compose" / "targets.json").read_text(encoding="utf-8"))
    asked = {target["labels"]["job"]: target["targets"][0] for target in targets}
    assert asked == {
        "user-api": "api:9081",
        "user-rpc": "user:9091",
        "score-rpc": "score:9092",
        "dtm": f"coordinator:{Settings().http_port}",
    }
    for name in BRANCHES:
        file = in_repository(after(SERVICES[name]["command"], "-f"))
        section = yaml.safe_load(file.read_text(encoding="utf-8"))["Prometheus"]
        assert f"{name}:{section['Port']}" in asked.values()


def test_what_runs_without_containers_is_asked_at_the_same_ports():
    conf = COMPOSE_FILE.parent
    targets = json.loads((conf / "targets.json").read_text(encoding="utf-8"))
    ports = {target["labels"]["job"]: int(target["targets"][0].rpartition(":")[2]) for target in targets}
    for name, job in (("api", "user-api"), ("user", "user-rpc"), ("score", "score-rpc")):
        section = yaml.safe_load((conf / f"{name}.yaml").read_text(encoding="utf-8"))["Prometheus"]
        assert section["Port"] == ports[job]
    assert ports["dtm"] == Settings().http_port


def test_grafana_finds_its_dashboards_and_sources():
    grafana = COMPOSE_FILE.parent / "grafana"
    dashboards = yaml.safe_load((grafana / "provisioning/dashboards/dashboards.yml").read_text())
    mounts = dict(reversed(volume.split(":")[:2]) for volume in SERVICES["grafana"]["volumes"])
    folder = dashboards["providers"][0]["options"]["path"]
    assert (COMPOSE_FILE.parent / mounts[folder] / "dtm.json").is_file()
    sources = yaml.safe_load((grafana / "provisioning/datasources/datasources.yml").read_text())
    for source in sources["datasources"]:
        assert source["url"].split("//")[1].split(":")[0] in SERVICES
    used = set(re.findall(r'"uid": "(\w+)"', (grafana / "dashboards/dtm.json").read_text()))
    assert used - {"dtm"} <= {source["uid"] for source in sources["datasources"]}
