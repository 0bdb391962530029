"""The yaml files: go-zero's form, and sentences for what is wrong in them."""

from pathlib import Path

import pytest

from branches.settings import ROOT, ApiSettings, RpcSettings, ScoreSettings, SettingsError, load_settings

GO_ZERO = """
Name: user.rpc
ListenOn: 0.0.0.0:8080
Mode: dev
Etcd:
  Hosts:
    - localhost:2379
  Key: user.rpc
Mysql:
  DataSource: root:secret@tcp(localhost:3306)/user?charset=utf8mb4
CacheRedis:
  - Host: localhost:6379
Prometheus:
  Host: 0.0.0.0
  Port: 9101
  Path: /metrics
Telemetry:
  Name: user.rpc
  Endpoint: http://localhost:14268/api/traces
  Sampler: 1.0
  Batcher: jaeger
"""
API = """
Name: register.api
Host: 0.0.0.0
Port: 8888
DtmServer: localhost:36790
UserRpc: {Endpoints: ["localhost:8080"]}
ScoreRpc: {Etcd: {Hosts: ["h1:2379", "h2:2379"], Key: score.rpc}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "service.yaml"


def test_a_go_zero_service_file_is_taken_as_it_is(file: Path) -> None:
    file.write_text(GO_ZERO, encoding="utf-8")
    settings = load_settings(file, RpcSettings)
    assert (settings.name, settings.listen_on) == ("user.rpc", "0.0.0.0:8080")
    assert settings.etcd.hosts == ("localhost:2379",) and settings.etcd.key == "user.rpc"
    assert str(settings.source) == "mysql://root@localhost:3306/user"
    assert settings.prometheus.port == 9101
    assert settings.telemetry.batcher == "jaeger"
    assert settings.timeout == 2000


def test_keys_are_read_whatever_their_case_and_variables_filled_in(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("USER_DB", "sqlite:///user.db")
    file.write_text("name: u\nlistenon: ':0'\nDATASOURCE: ${USER_DB}\n", encoding="utf-8")
    settings = load_settings(file, RpcSettings)
    assert str(settings.source) == "sqlite:///user.db"
    assert not settings.etcd


def test_an_api_finds_its_services_by_address_key_or_target(file: Path) -> None:
    file.write_text(API, encoding="utf-8")
    settings = load_settings(file, ApiSettings)
    assert settings.user_rpc.url == "localhost:8080"
    assert settings.score_rpc.url == "etcd://h1:2379,h2:2379/score.rpc"
    several = API.replace('["localhost:8080"]', '["a:1", "b:2"]')
    file.write_text(several, encoding="utf-8")
    assert load_settings(file, ApiSettings).user_rpc.url == "direct:///a:1,b:2"
    file.write_text(
        API.replace('Endpoints: ["localhost:8080"]', "Target: discov://h:2379/user.rpc"), encoding="utf-8"
    )
    assert load_settings(file, ApiSettings).user_rpc.url == "discov://h:2379/user.rpc"


@pytest.mark.parametrize(
    ("kind", "name"), [(RpcSettings, "user"), (ScoreSettings, "score"), (ApiSettings, "api")]
)
@pytest.mark.parametrize("folder", ["conf", "conf/compose"])
def test_the_files_that_come_with_the_project_are_good(
    kind: type[RpcSettings | ApiSettings], name: str, folder: str
) -> None:
    load_settings(ROOT / folder / f"{name}.yaml", kind)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "is empty or no mapping"),
        ("- a\n", "is empty or no mapping"),
        ("Name: [\n", "is not YAML"),
        ("Name: u\n", "ListenOn: is missing"),
        ("Name: u\nListenOn: 8080\nDataSource: sqlite:///u\n", "ListenOn: Input should be a valid string"),
        ("Name: u\nListenOn: host\nDataSource: sqlite:///u\n", "ListenOn: 'host': write host:port"),
        ("Name: u\nListenOn: ':1'\n", "DataSource is missing"),
        ("Name: u\nListenOn: ':1'\nDataSource: oracle\n", "has no /database"),
        (
            "Name: u\nListenOn: ':1'\nDataSource: sqlite:///u\nEtcd: {Hosts: [h:1]}\n",
            "Etcd: give both Hosts and Key",
        ),
        (
            "Name: u\nListenOn: ':1'\nDataSource: sqlite:///u\nTimeout: 0\n",
            "Timeout: Input should be greater",
        ),
    ],
)
def test_a_wrong_file_is_explained_by_key(file: Path, content: str, sentence: str) -> None:
    file.write_text(content, encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        load_settings(file, RpcSettings)
    assert sentence in str(caught.value)
    assert str(caught.value).startswith(str(file))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"No such file or directory\. Name another file with -f"):
        load_settings(tmp_path / "none.yaml", RpcSettings)


def test_an_api_without_a_way_to_a_service(file: Path) -> None:
    file.write_text(API.replace('UserRpc: {Endpoints: ["localhost:8080"]}', "UserRpc: {}"), encoding="utf-8")
    with pytest.raises(SettingsError, match="UserRpc: give Endpoints, Etcd"):
        load_settings(file, ApiSettings)
