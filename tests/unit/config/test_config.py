"""The configuration: PROTOCOL §13, rule by rule, and what an operator is told who breaks one."""

import re
import socket
from collections.abc import Iterator, Mapping
from datetime import timedelta, timezone
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr, ValidationError

from coordinator.config.access import Access
from coordinator.config.read import (
    ConfigError,
    Loaded,
    Log,
    MicroService,
    Problem,
    Settings,
    Store,
    load_settings,
    shown_values,
)
from coordinator.config.rules import doubts
from coordinator.config.secret_files import SECRET_FILES
from coordinator.config.settings import variable
from coordinator.config.values import every_field, key_of

ROOT = Path(__file__).resolve().parents[3]
MYSQL = "Store:\n  Driver: mysql\n  Host: localhost\n  Port: 3306\n  User: root\n"
INTEGER_KEYS = [key_of(path) for path, annotation in every_field() if annotation is int]
same_files = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "conf.yml"


def load(file: Path, text: str | bytes, **environment: str) -> Loaded:
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return load_settings(file, environment)


def problems_of(file: Path | None, text: str = "", **environment: str) -> tuple[Problem, ...]:
    with pytest.raises(ConfigError) as caught:
        if file is None:
            load_settings(None, environment)
        else:
            load(file, text, **environment)
    return caught.value.problems


def test_without_file_and_environment_everything_has_its_default():
    loaded = load_settings(None, {})
    assert loaded == Loaded(Settings())
    assert loaded.settings.store.driver == "sqlite"
    assert loaded.settings.store.path == Path("dtm.db")


def test_a_file_and_the_environment_set_what_they_name(file: Path):
    loaded = load(file, MYSQL + "  Password: secret\nHttpPort: 8080\n", GRPC_PORT="8081", STORE_DB="other")
    assert loaded.settings.store == Store(
        driver="mysql", host="localhost", port=3306, user="root", password=SecretStr("secret"), db="other"
    )
    assert (loaded.settings.http_port, loaded.settings.grpc_port) == (8080, 8081)
    assert loaded.sources["HttpPort"] == f"{file}:7"
    assert loaded.sources["GrpcPort"] == "environment GRPC_PORT"
    assert "LogLevel" not in loaded.sources


# ---- §13: keys and defaults ----------------------------------------------------------------------

PROTOCOL_DEFAULTS = {
    "Store.Driver": "sqlite",
    "Store.Path": "dtm.db",
    "Store.Host": "",
    "Store.Port": "0",
    "Store.User": "",
    "Store.Password": "(not set)",
    "Store.Db": "dtm",
    "Store.Schema": "public",
    "Store.MaxOpenConns": "500",
    "Store.MaxIdleConns": "500",
    "Store.ConnMaxLifeTime": "5",
    "Store.DataExpire": "604800",
    "Store.FinishedDataExpire": "86400",
    "Store.RedisPrefix": "{a}",
    "TransCronInterval": "3",
    "TimeoutToFail": "35",
    "RetryInterval": "10",
    "RequestTimeout": "3",
    "HttpPort": "36789",
    "GrpcPort": "36790",
    "JsonRpcPort": "36791",
    "MicroService.Driver": "default",
    "MicroService.Target": "",
    "MicroService.EndPoint": "",
    "HttpMicroService.Driver": "default",
    "HttpMicroService.RegistryType": "",
    "HttpMicroService.RegistryAddress": "",
    "HttpMicroService.RegistryOptions": "(not set)",
    "HttpMicroService.Target": "",
    "HttpMicroService.EndPoint": "",
    "UpdateBranchSync": "1",
    "UpdateBranchAsyncGoroutineNum": "1",
    "GrpcServiceConfig": "",
    "GrpcBalancer": "",
    "LogLevel": "info",
    "Log.Outputs": "stderr",
    "Log.RotationEnable": "0",
    "Log.RotationConfigJSON": "{}",
    "TimeZoneOffset": "",
    "ConfigUpdateInterval": "3",
    "AlertRetryLimit": "3",
    "AlertWebHook": "",
    "AdminBasePath": "",
}
OWN_DEFAULTS = {
    "Host": "127.0.0.1",
    "Workers": "1",
    "Branches.Allow": "",
    "Branches.Deny": "",
    "Branches.CaFile": "",
    "Branches.CertFile": "",
    "Branches.KeyFile": "",
    "Tls.CertFile": "",
    "Tls.KeyFile": "",
    "Tls.ClientCaFile": "",
    "Tls.Clients": "required",
    "Operators.Host": "127.0.0.1",
    "Operators.Port": "0",
    "Operators.GrpcPort": "0",
    "Operators.CertFile": "",
    "Operators.KeyFile": "",
    "Operators.ClientCaFile": "",
    "Operators.Clients": "required",
    **{f"Store.{key}": "" for key in ("CaFile", "CertFile", "KeyFile")},
    **{f"MicroService.{key}": "" for key in ("CaFile", "CertFile", "KeyFile")},
    "Store.Tls": "0",
    "Store.Retention": "",
    "Store.ArchivePath": "",
    "MicroService.Tls": "0",
    "Store.PasswordFile": "",
    "MicroService.TargetFile": "",
    "Telemetry.EndpointFile": "",
    "AlertWebHookFile": "",
    "InstanceName": f"{socket.gethostname()}-36789",
    "RetryIntervalMax": "300",
    "RequestTimeoutMax": "300",
    "OptionSecondsMax": "31536000",
    "BodyBytesMax": "4194304",
    "AnswerBytesMax": "1048576",
    "ConcurrencyMax": "4096",
    "EndpointConcurrencyMax": "256",
    "AlertOnEnd": "1",
    "BytesInFlightMax": "67108864",
    "RecoveryConcurrencyMax": "512",
    "Log.SlowDatabaseMillis": "100",
    "Log.SlowBranchMillis": "500",
    "Telemetry.Name": "dtm",
    "Telemetry.Endpoint": "",
    "Telemetry.Sampler": "1.0",
    "Telemetry.Batcher": "jaeger",
    "Access.Mode": "off",
    "Access.Metrics": "open",
    "Access.Origins": "",
    "Access.Certificates": "",
    "Access.AuditDays": "365",
    "AttemptDays": "7",
    "Links.Trace": "",
    "Links.Logs": "",
    "Oidc.Issuer": "",
    "Oidc.ClientId": "",
    "Oidc.ClientSecret": "(not set)",
    "Oidc.ClientSecretFile": "",
    "Oidc.RedirectUrl": "",
    "Oidc.GroupsClaim": "groups",
    "Oidc.Roles": "",
    "Oidc.CaFile": "",
}
FROM_FILE = Settings(host="0.0.0.0")  # what a conf.yml that names nothing means


def test_the_keys_and_defaults_are_those_of_the_protocol_and_those_of_our_own():
    assert dict(shown_values(Settings())) == PROTOCOL_DEFAULTS | OWN_DEFAULTS


@pytest.mark.parametrize(("path", "_annotation"), list(every_field()), ids=str)
def test_every_variable_is_the_key_in_capitals_as_the_reference_makes_it(path, _annotation):
    """§13: MicroService.EndPoint → MICRO_SERVICE_END_POINT; a `_` between a small letter and capitals."""
    expected = re.sub(r"([a-z])([A-Z]+)", r"\1_\2", key_of(path).replace(".", "_")).upper()
    assert variable(path) == {"HOST": "DTM_HOST"}.get(expected, expected)


def test_every_key_can_stand_in_file_and_environment(file: Path):
    """§13: each key of the list is known, in either place."""
    sample = {int: "17", bool: "0"}
    other = {
        "Store.Driver": "boltdb",
        "MicroService.Driver": "dtm-driver-gozero",
        "MicroService.Target": "etcd://a:1/b",
        "MicroService.EndPoint": "a:1",
        "LogLevel": "warn",
        "Log.RotationEnable": "1",
        "Log.RotationConfigJSON": '{"maxsize": 1}',
        "Telemetry.Sampler": "0.5",
        "Telemetry.Batcher": "zipkin",
        "Access.Mode": "all",
        "Tls.Clients": "optional",
        "Operators.Clients": "optional",
        "Operators.Port": "19",
        "Operators.GrpcPort": "20",
        "Store.Tls": "1",
        "Store.Retention": "2d",
        "MicroService.Tls": "1",
        "Access.Metrics": "token",
        "Access.Origins": "https://a",
        "Links.Trace": "https://a/{trace_id}",
        "Oidc.Issuer": "https://a",
        "Oidc.RedirectUrl": "https://b/login/back",
        "Oidc.Roles": "a=admin",
        "Links.Logs": "http://a/?q={gid}",
        "TimeZoneOffset": "+8",
        "AlertWebHook": "http://a/b",
        "GrpcPort": "18",
        "TimeoutToFail": "18",
    }
    files = {key_of(named) for _, named in SECRET_FILES}  # of what is given here itself
    files |= {key_of(path) for path, _ in every_field() if path[-1] in {"ca_file", "cert_file", "key_file"}}
    files |= {"Workers"}  # not with SQLite: test_several_processes_need_a_database_and_ports
    files |= {"Tls.ClientCaFile", "Operators.ClientCaFile"}  # there are none: tests of TLS make some
    files |= {"Access.Certificates"}  # which needs one
    written = {}
    for path, annotation in every_field():
        if key_of(path) not in files:
            written[path] = other.get(key_of(path), sample.get(annotation, "x"))
    from_environment = load_settings(None, {variable(path): text for path, text in written.items()})
    tree: dict[str, object] = {}
    for path, text in written.items():
        section = tree.setdefault(key_of(path[:1]), {}) if len(path) > 1 else tree
        section[key_of(path[-1:])] = text
    from_file = load(file, yaml.safe_dump(tree))
    assert from_file.settings == from_environment.settings
    assert set(from_file.sources) == set(from_environment.sources) == {key_of(path) for path in written}
    unlike_default = set(shown_values(from_file.settings)) - set(shown_values(Settings()))
    assert {key for key, _ in unlike_default} == set(PROTOCOL_DEFAULTS | OWN_DEFAULTS) - {
        "Store.Driver"
    } - files


def test_the_file_wins_over_the_environment(file: Path):
    assert load(file, "HttpPort: 1", HTTP_PORT="2").settings.http_port == 1


def test_a_variable_that_the_file_overrides_is_not_even_looked_at(file: Path):
    assert load(file, "HttpPort: 1", HTTP_PORT="nonsense").settings.http_port == 1


@pytest.mark.parametrize("nothing", ["HttpPort:", "HttpPort: ~", "HttpPort: null", "# HttpPort: 5", ""])
def test_a_key_without_value_leaves_environment_and_default(file: Path, nothing: str):
    assert load(file, nothing).settings.http_port == 36789
    assert load(file, nothing, HTTP_PORT="2").settings.http_port == 2


def test_an_empty_variable_counts_as_not_set():
    assert load_settings(None, {"HTTP_PORT": "", "STORE_DRIVER": ""}) == Loaded(Settings())


def test_an_empty_text_in_the_file_counts(file: Path):
    assert load(file, "Store: {RedisPrefix: ''}", STORE_REDIS_PREFIX="b").settings.store.redis_prefix == ""


def test_host_alone_in_the_environment_is_somebody_elses():
    assert load_settings(None, {"HOST": "x86_64-linux-gnu"}).settings.host == "127.0.0.1"
    assert load_settings(None, {"DTM_HOST": "10.0.0.1"}).settings.host == "10.0.0.1"


# ---- who reaches it -------------------------------------------------------------------------------


def test_without_a_file_it_listens_on_loopback_and_says_nothing_of_it():
    loaded = load_settings(None, {})
    assert (loaded.settings.host, loaded.notices) == ("127.0.0.1", ())


def test_a_file_that_names_no_host_means_all_addresses_as_for_the_reference_and_that_is_said(file: Path):
    loaded = load(file, "HttpPort: 1")
    assert loaded.settings.host == "0.0.0.0"
    listening, everybody = loaded.notices
    assert "listening on all addresses" in listening
    assert "whoever reaches these ports may submit, stop and read everything" in everybody
    assert load(file, "HttpPort: 1", DTM_HOST="127.0.0.1").settings.host == "127.0.0.1"


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "dtm.example", "127.evil.example"])
def test_mode_off_beyond_loopback_is_said_at_each_start(file: Path, host: str):
    assert "Access.Mode is off" in load(file, f"Host: '{host}'").notices[-1]
    for mode in ("operators", "ALL"):
        assert load(file, f"Host: '{host}'\nAccess: {{Mode: {mode}}}").notices == ()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost", "LOCALHOST", "a.localhost"])
def test_nothing_is_said_of_loopback(file: Path, host: str):
    assert load(file, f"Host: '{host}'").notices == ()


@pytest.mark.parametrize("mode", ["off", "operators", "all"])
def test_the_mode_is_a_word_with_and_without_quotes(file: Path, mode: str):
    """YAML has `off` as a boolean; here values are the text that was written."""
    for written in (mode, f"'{mode}'"):
        assert load(file, f"Host: ::1\nAccess:\n  Mode: {written}\n").settings.access.mode == mode


@pytest.mark.parametrize(
    "origins", ["dtm.example", "https://", "ftp://a", "https://a/b", "https://a,b", "*", "null"]
)
def test_an_origin_is_scheme_and_host(file: Path, origins: str):
    [problem] = problems_of(file, f"Access:\n  Origins: '{origins}'\n")
    assert problem.key == "Access.Origins"
    assert "is no origin such as https://dtm.example:8443" in str(problem)


def test_certificates_of_clients_need_somebody_who_signs_them(file: Path):
    [problem] = problems_of(file, "Access: {Mode: all, Certificates: 'DNS:a viewer'}")
    assert (problem.key, problem.problem) == ("Access.Certificates", "needs Tls.ClientCaFile beside it")


def test_in_mode_off_nobody_looks_at_certificates_and_that_is_said():
    doubted = [finding.path for finding in doubts(Settings(access=Access(certificates="DNS:a viewer")))]
    assert doubted == [("access", "certificates")]


def test_an_entry_for_certificates_that_makes_no_sense_is_named(file: Path):
    problems = problems_of(file, "Access:\n  Certificates: 'a viewer'\n")
    assert "'a' is none of DNS:name" in str(problems[0])


# ---- §13: a conf.yml written for the reference starts ours unchanged ------------------------------

REFERENCE_FILES = {
    "boltdb": "Store:\n  Driver: 'boltdb'\n",
    "mysql with tabs after the colon": (
        "Store:\n  Driver:\t'mysql'\n  Host: 'localhost'\t# here\n  User: 'root'\n  Port: 3306\n"
    ),
    "port in quotes": "Store:\n  Driver: mysql\n  Host: db\n  User: root\n  Port: '3306'\n",
    "go-zero": (
        "MicroService:\n  Driver: 'dtm-driver-gozero'\n  Target: 'etcd://localhost:2379/dtmservice'\n"
        "  EndPoint: 'localhost:36790'\n"
    ),
    "logs": (
        "LogLevel: 'info'\nLog:\n  Outputs: 'stderr,/tmp/a.log'\n  RotationEnable: 0\n"
        "  RotationConfigJSON: '{\"maxsize\": 100}'\n"
    ),
    "sections with everything commented out": "Store:\n#  Driver: boltdb\nMicroService:\n# Driver: x\n",
    "long retry interval": "RetryInterval: 600\nTimeoutToFail: 700\n",
    "flow style with a byte order mark": "\ufeffStore: {Driver: boltdb}\nHttpPort: 36789\n",
    "also taken": (
        "UpdateBranchSync: 0\nUpdateBranchAsyncGoroutineNum: 4\nGrpcServiceConfig: '{}'\nGrpcBalancer: x\n"
        "JsonRpcPort: 36791\nHttpMicroService: {RegistryType: '', RegistryAddress: '', RegistryOptions: ''}\n"
    ),
}


@pytest.mark.parametrize("text", REFERENCE_FILES.values(), ids=REFERENCE_FILES.keys())
def test_a_file_written_for_the_reference_is_taken_without_a_warning(file: Path, text: str):
    assert load(file, text).warnings == ()


@pytest.mark.parametrize("driver", ["Driver: boltdb", "Driver: boltdb\n  Path: other.db"])
def test_boltdb_is_our_sqlite_file_and_said_so(file: Path, driver: str):
    """§13: `boltdb`, the reference's default, becomes our SQLite file (said at start)."""
    loaded = load(file, f"Host: ::1\nStore:\n  {driver}\n")
    assert loaded.settings.store.driver == "sqlite"
    (notice,) = loaded.notices
    assert "boltdb" in notice
    assert str(loaded.settings.store.path) in notice
    assert load(file, "Host: ::1\nStore: {Driver: sqlite}").notices == ()
    assert len(load_settings(None, {"STORE_DRIVER": "boltdb"}).notices) == 1


@pytest.mark.parametrize(
    ("written", "number"),
    [
        ("8080", 8080),
        ("'8080'", 8080),
        ('"08080"', 8080),
        ("+8080", 8080),
        ("8_080", 8080),
        ("0x1F90", 8080),
        ("0b11", 3),
        ("0o17", 15),
        ("017", 15),
        ("08", 8),
        ("8.08e3", 8080),
        ("8080.0", 8080),
        ("0", 0),
    ],
)
def test_numbers_are_read_as_the_reference_reads_them(file: Path, written: str, number: int):
    loaded = load(file, f"HttpPort: {written}")
    assert loaded.settings.http_port == number
    assert loaded.warnings == ()


def test_a_fraction_is_cut_off_as_the_reference_does_and_warned_of(file: Path):
    loaded = load(file, "RequestTimeout: 3.7")
    assert loaded.settings.request_timeout == 3
    assert loaded.warnings == (f"{file}:1: RequestTimeout: 3.7 is taken as 3, whole numbers only.",)


@pytest.mark.parametrize("text", ["0123", "yes", "1.0", "2001-01-01", "0x10", "12:30:45", ".inf", "null1"])
def test_a_text_stays_the_characters_that_were_written(file: Path, text: str):
    """Elsewhere YAML makes numbers, truth values and dates of these."""
    loaded = load(file, MYSQL + f"  Password: {text}\nAdminBasePath: {text}\n")
    assert loaded.settings.store.password.get_secret_value() == text
    assert loaded.settings.admin_base_path == text


@pytest.mark.parametrize(
    ("written", "on"),
    [("1", True), ("0", False), ("'1'", True), ("2", True), ("true", True), ("False", False)],
)
def test_on_and_off_are_numbers(file: Path, written: str, on: bool):
    assert load(file, f"UpdateBranchSync: {written}").settings.update_branch_sync is on


@pytest.mark.parametrize(
    ("written", "level"),
    [("INFO", "info"), ("Debug", "debug"), ("warning", "warn"), ("fatal", "error"), ("dpanic", "error")],
)
def test_log_levels_of_the_reference_and_in_capitals(file: Path, written: str, level: str):
    assert load(file, f"LogLevel: {written}").settings.log_level == level


def test_merged_and_repeated_parts_of_the_file_work(file: Path):
    loaded = load(file, "Store: &s\n  Port: 5\nOther:\n  <<: *s\nLog:\n  <<: {Outputs: a.log}\n")
    assert loaded.settings.store.port == 5
    assert loaded.settings.log.outputs == "a.log"


def test_only_the_first_document_is_read(file: Path):
    loaded = load(file, "---\nHttpPort: 5\n---\nHttpPort: [\n")
    assert loaded.settings.http_port == 5
    assert loaded.warnings == (
        f"{file}: the file holds more than one document. Everything after the second `---` is ignored.",
    )


# ---- §13: rules ----------------------------------------------------------------------------------

RULES = [
    # text of the file, then key, line and problem of each thing that is wrong with it
    ("RetryInterval: 9", ("RetryInterval", 1, "is 9, but must be at least 10")),
    (
        "RetryInterval: 20\nTimeoutToFail: 19",
        ("TimeoutToFail", 2, "is 19, but must not be less than RetryInterval, which is 20"),
    ),
    (
        "\nTimeoutToFail: 9",
        ("TimeoutToFail", 2, "is 9, but must not be less than RetryInterval, which is 10"),
    ),
    (
        "RetryInterval: 36",  # the time-out is the default, so the blame is shown where the other stands
        ("TimeoutToFail", 1, "is 35, but must not be less than RetryInterval, which is 36"),
    ),
    (
        "Store: {Driver: redis}",
        ("Store.Driver", 1, "the driver redis is not built yet; use sqlite, mysql or postgres"),
    ),
    ("Store:\n  Driver: sqllite", ("Store.Driver", 2, "'sqllite' is none of sqlite, mysql or postgres")),
    ("Store:\n  Driver: pg", ("Store.Driver", 2, "'pg' is none of sqlite, mysql or postgres")),
    ("Store:\n  Driver: ''", ("Store.Driver", 2, "'' is none of sqlite, mysql or postgres")),
    (
        "Store:\n\n  Driver: postgres\n  Schema: ''",
        ("Store.Host", 3, "is missing, and postgres needs it"),
        ("Store.User", 3, "is missing, and postgres needs it"),
        ("Store.Schema", 4, "is empty, and postgres needs it"),
    ),
    (
        "Store:\n\n  Driver: mysql",
        ("Store.Host", 3, "is missing, and mysql needs it"),
        ("Store.Port", 3, "is missing, and mysql needs it"),
        ("Store.User", 3, "is missing, and mysql needs it"),
    ),
    ("Store: {Path: ':memory:'}", ("Store.Path", 1, "this is not the path of a file;")),
    ("Store: {Path: ''}", ("Store.Path", 1, "this is not the path of a file;")),
    ("Store: {Port: 65536}", ("Store.Port", 1, "is 65536, but must be at most 65535")),
    ("HttpPort: 65536", ("HttpPort", 1, "is 65536, but must be at most 65535")),
    ("GrpcPort: -1", ("GrpcPort", 1, "is -1, but must be at least 0")),
    ("HttpPort: 5\nGrpcPort: 5", ("GrpcPort", 2, "is 5, as HttpPort is")),
    ("HttpPort: 36790", ("GrpcPort", 1, "is 36790, as HttpPort is")),
    ("TransCronInterval: 0", ("TransCronInterval", 1, "is 0, but must be at least 1")),
    ("RequestTimeout: 0", ("RequestTimeout", 1, "is 0, but must be at least 1")),
    ("AlertRetryLimit: -1", ("AlertRetryLimit", 1, "is -1, but must be at least 0")),
    ("TimeoutToFail: 99999999999", ("TimeoutToFail", 1, "is 99999999999, but must be at most 2147483647")),
    ("BodyBytesMax: 4MB", ("BodyBytesMax", 1, "'4MB' is no whole number")),
    ("HttpPort: ''", ("HttpPort", 1, "'' is no whole number")),
    ("HttpPort: '0x10'", ("HttpPort", 1, "'0x10' is no whole number")),
    ("HttpPort: true", ("HttpPort", 1, "'true' is no whole number")),
    ("UpdateBranchSync: maybe", ("UpdateBranchSync", 1, "'maybe' is no whole number")),
    ("LogLevel: trace", ("LogLevel", 1, "'trace' is none of debug, info, warn or error")),
    (
        "MicroService: {Driver: dtm-driver-kratos}",
        ("MicroService.Driver", 1, "the driver dtm-driver-kratos is not built yet;"),
    ),
    (
        "MicroService:\n  Driver: dtm-driver-gozero\n  Target: http://a/b",
        ("MicroService.Target", 3, "'http://a/b' is no address of etcd"),
        ("MicroService.EndPoint", 3, "is missing"),
    ),
    *(
        (
            "MicroService:\n  Driver: dtm-driver-gozero\n  Target: etcd://h/x\n  EndPoint: " + written,
            ("MicroService.EndPoint", 4, problem),
        )
        for written, problem in (
            ("http://x:1", "'http://x:1' has 'http://x' for a host"),
            ("x", "'x' has no port"),
            ("':1'", "':1' has no host"),
            ("x:99999", "'x:99999' has '99999' for a port"),
            ("x:0", "'x:0' has '0' for a port"),
        )
    ),
    *(
        (
            f"MicroService:\n  Driver: dtm-driver-gozero\n  Target: {written}\n  EndPoint: x:1",
            ("MicroService.Target", 3, problem),
        )
        for written, problem in (
            ("etcd://h:2379", "'etcd://h:2379' has no service name after the etcd hosts"),
            ("etcd:///x", "'etcd:///x' has no host"),
            ("etcd://h:port/x", "'etcd://h:port/x' has 'port' for a port"),
            ("etcd://u:s3cret@h/x", "'etcd://u:…@h/x' has a login before its hosts"),
            ("etcd://h/?user=u&password=p", "'etcd://h/?user=u&password=…' has no service name"),
        )
    ),
    *(
        (
            f"Store:\n  Driver: mysql\n  Port: 1\n  User: u\n  Host: {host}",
            ("Store.Host", 5, f"{host!r} is no host name or address"),
        )
        for host in ("h:3306", "tcp://h", "u@h", "h/dtm", "/run/mysqld.sock")
    ),
    (f"{MYSQL}  Db: ''", ("Store.Db", 6, "is empty, and mysql needs it")),
    *(
        (
            f"AlertWebHook: {hook}",
            ("AlertWebHook", 1, "is no URL that begins with http:// or https:// and a host"),
        )
        for hook in (
            "ftp://h/s3cret",
            "h/hook",
            "http://",
            "'http://:80/x'",
            "http://h:x/",
            "http://h:99999/",
        )
    ),
    ("Store: {Path: /no/such/folder/dtm.db}", ("Store.Path", 1, "'/no/such/folder/dtm.db' is in the folder")),
    ("Store: {Path: /}", ("Store.Path", 1, "'/' is a folder, not a file")),
    (
        "Store: {Path: /etc/passwd}",
        ("Store.Path", 1, "'/etc/passwd' is there already, and is not a database"),
    ),
    ("Store: {Path: /etc/passwd/x}", ("Store.Path", 1, "'/etc/passwd/x' is ")),
    ("Log: {Outputs: 'stderr, /etc'}", ("Log.Outputs", 1, "'/etc' is a folder, not a file")),
    ("Log: {Outputs: /etc/passwd/x.log}", ("Log.Outputs", 1, "'/etc/passwd/x.log' is ")),
    (
        f"Log: {{Outputs: /{'x' * 300}}}",
        ("Log.Outputs", 1, f"'/{'x' * 300}' cannot be looked at: File name too"),
    ),
    (
        'Log:\n  RotationEnable: 1\n  RotationConfigJSON: \'{"maxsize": "1G"}\'',
        ("Log.RotationConfigJSON", 3, "maxsize must be a whole number, not '1G'"),
    ),
    (
        "Telemetry: {Batcher: file, Endpoint: /no/such/folder/spans}",
        (
            "Telemetry.Endpoint",
            1,
            "'/no/such/folder/spans' is in the folder /no/such/folder, which does not exist",
        ),
    ),
    ("Telemetry: {Endpoint: 'http://'}", ("Telemetry.Endpoint", 1, "names no host")),
    (
        "Log:\n  RotationEnable: 1\n  RotationConfigJSON: '[]'",
        ("Log.RotationConfigJSON", 3, "this is not a JSON object"),
    ),
    ("TimeZoneOffset: Europe/Vienna", ("TimeZoneOffset", 1, "this is no offset from UTC")),
    ("TimeZoneOffset: +15", ("TimeZoneOffset", 1, "this is no offset from UTC")),
    ("InstanceName: a/b", ("InstanceName", 1, "an instance name has at most 64 letters")),
    ("Host: ''", ("Host", 1, "must not be empty")),
    ("Store: sqlite", ("Store", 1, "keys belong here, not a value")),
    ("Store: [1]", ("Store", 1, "keys belong here, not a value")),
    ("Store:\n  RedisPrefix: {a}", ("Store.RedisPrefix", 2, "one value belongs here, not a mapping")),
    ("HttpPort:\n- 1", ("HttpPort", 1, "one value belongs here, not a list")),
    ("HttpPort:\n  a: 1", ("HttpPort", 1, "one value belongs here, not keys")),
]


@pytest.mark.parametrize(("text", "expected"), [(text, expected) for text, *expected in RULES])
def test_a_broken_rule_is_told_by_key_and_line(file: Path, text: str, expected: list[tuple[str, int, str]]):
    problems = problems_of(file, text)
    assert [(problem.key, problem.line) for problem in problems] == [(key, line) for key, line, _ in expected]
    for problem, (key, line, sentence) in zip(problems, expected, strict=True):
        assert problem.problem.startswith(sentence)
        assert str(problem).startswith(f"{file}:{line}: {key}: {sentence}")


def test_a_value_of_the_environment_is_told_by_its_variable():
    problems = problems_of(None, RETRY_INTERVAL="9", HTTP_PORT="tcp://10.0.0.1:80")
    assert [str(problem) for problem in problems] == [
        "environment HTTP_PORT: HttpPort: 'tcp://10.0.0.1:80' is no whole number."
        " Kubernetes sets this for a service of that name; `enableServiceLinks: false` stops it.",
        "environment RETRY_INTERVAL: RetryInterval: is 9, but must be at least 10.",
    ]


def test_all_problems_are_told_at_once_in_the_order_of_the_file(file: Path):
    text = (
        "LogLevel: loud\nStore:\n  Driver: mysql\n  Port: x\nHttpPort: 70000\nRetryInterval: 5\nHttpPort: 1\n"
    )
    problems = problems_of(file, text, GRPC_PORT="no")
    assert [(problem.key, problem.line or problem.variable) for problem in problems] == [
        ("GrpcPort", "GRPC_PORT"),
        ("LogLevel", 1),
        ("Store.Host", 3),
        ("Store.User", 3),  # nothing of Store.Port being missing: it is there, but wrong
        ("Store.Port", 4),
        ("RetryInterval", 6),
        ("HttpPort", 7),
    ]


def test_a_value_that_was_not_understood_breaks_no_further_rule(file: Path):
    (problem,) = problems_of(file, "RetryInterval: 99\nTimeoutToFail: abc\n")
    assert problem.key == "TimeoutToFail"
    assert "abc" in problem.problem


def test_an_alert_limit_meant_as_never_cannot_overflow_what_is_doubled(file: Path):
    """§9: the cap of the intervals is first interval × 2^AlertRetryLimit."""
    assert load(file, "AlertRetryLimit: 99999").settings.alert_retry_limit == 30


def test_a_port_of_zero_means_any_free_one(file: Path):
    settings_ = load(file, "HttpPort: 0\nGrpcPort: 0\n").settings
    assert (settings_.http_port, settings_.grpc_port) == (0, 0)


# ---- unknown keys and doubts ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "key", "meant"),
    [
        ("HttpPrt: 1", "HttpPrt", "HttpPort"),
        ("httpport: 1", "httpport", "HttpPort"),
        ("store:\n  Driver: mysql", "store", "Store"),
        ("Store:\n  driver: mysql", "Store.driver", "Store.Driver"),
        ("Driver: mysql", "Driver", "HttpMicroService.Driver"),
        ("Password: x", "Password", "Store.Password"),
        ("Zebra: 1", "Zebra", ""),
        ("Store:\n  TransGlobalTable: dtm.trans_global", "Store.TransGlobalTable", ""),
        ("? [a]\n: 1", "(a key that is no text)", ""),
    ],
)
def test_unknown_keys_warn_with_their_line(file: Path, text: str, key: str, meant: str):
    """§13: unknown keys warn; the reference takes them silently, so they cannot be errors."""
    loaded = load(file, text)
    line = text.count("\n") + 1 if "." in key else 1
    hint = f" Did you mean {meant}?" if meant else ""
    assert loaded.warnings == (f"{file}:{line}: {key}: unknown key, ignored.{hint}",)
    assert loaded.settings == FROM_FILE


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("MicroService: {Target: 'etcd://a/b'}", "MicroService.Target"),
        ("HttpMicroService: {Driver: dtm-driver-http}", "HttpMicroService.Driver"),
    ],
)
def test_what_will_hardly_do_what_was_meant_is_warned_of(file: Path, text: str, key: str):
    (warning,) = load(file, text).warnings
    assert warning.startswith(f"{file}:1: {key}: ")


# ---- a file that cannot be read ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line", "sentence"),
    [
        ("Store:\n\tDriver: mysql", 2, "a tab in the indentation. YAML takes spaces only."),
        ("HttpPort: 1\n\t# comment\nGrpcPort: 2", 2, "a tab in the indentation."),
        (
            "HttpPort: 1\nHttpPort: 2",
            2,
            "HttpPort: this key stands twice, in line 1 and here. Keep one of them.",
        ),
        ("Store:\n  Port: 1\n  Port: 1", 3, "Store.Port: this key stands twice, in line 2 and here."),
        ("Store:\n  ConnMaxLifeTime 5\n  Port: 1", 3, "a colon where none is expected, or none in the line"),
        ("HttpPort: 1\n  GrpcPort: 2", 2, "a colon where none is expected"),
        ("Store: {User: @root}", 1, "no value can begin with @. Put the value in quotes."),
        ("Store:\n  User: %a", 2, "no value can begin with %."),
        ("Store:\n  User: *a", 2, "a value that begins with * or & is YAML's alias or anchor. Put the value"),
        ("Store:\n  User: !a", 2, "Store.User: a value that begins with ! is a YAML tag. Put it in quotes."),
        ("Host: 'a\nHttpPort: 1\n", 3, "this is not valid YAML: found unexpected end of stream"),
        ("- HttpPort", 1, "this is not a mapping of keys to values. Write one `Key: value` per line."),
        ("HttpPort", 1, "this is not a mapping of keys to values."),
        ("HttpPort: 1\nHost: \x07", 2, "a control character that YAML does not allow."),
        (b"HttpPort: 1\nHost: \xe4", 2, "the file is not UTF-8 text. Save it as UTF-8."),
        ("[" * 100_000, 1, "nested more than 32 deep."),
        ("a: " * 3 + "\n", 1, "a colon where none is expected"),
        ("Log:\n  <<: 5", 2, "this is not valid YAML: expected a mapping or list of mappings for merging"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_is_no_yaml_gets_a_sentence_with_the_line(
    file: Path, text: str | bytes, line: int, sentence: str
):
    with pytest.raises(ConfigError) as caught:
        load(file, text)
    (problem,) = caught.value.problems
    assert str(problem).startswith(f"{file}:{line}: {sentence}")


def test_a_file_that_is_not_there_or_no_file(tmp_path: Path):
    for path, sentence in [
        (tmp_path / "absent.yml", "there is no such file. Name an existing file after -c"),
        (tmp_path, "the file cannot be read: is a directory."),
    ]:
        with pytest.raises(ConfigError) as caught:
            load_settings(path, {})
        assert str(caught.value).startswith(f"{path}: {sentence}")


def test_a_file_given_by_mistake_is_not_read_to_its_end(file: Path):
    (problem,) = problems_of(file, "# " + "x" * (1 << 20))
    assert problem.problem == "the file is longer than 1048576 bytes: this is no conf.yml"


@same_files
@given(data=st.binary(max_size=200) | st.text("HtpPor:&*!{}[]'\"\\\n\t -#<~0é", max_size=80).map(str.encode))
@example(data=b"a: &a\n  <<: *a")
@example(data=b"&a : *a")
@example(data=b"!!binary a: b")
def test_whatever_the_file_holds_the_answer_is_settings_or_problems(file: Path, data: bytes):
    try:
        load(file, data)
    except ConfigError as error:
        assert error.problems
        assert all(problem.file == file for problem in error.problems)


# ---- secrets -------------------------------------------------------------------------------------

SECRET_FILE = """
Store: {Password: s3cr3t-a}
MicroService: {Driver: dtm-driver-gozero, Target: 'etcd://h:1/n?user=u&password=s3cr3t-c', EndPoint: a:1}
HttpMicroService: {RegistryOptions: '{"Password": "s3cr3t-d"}', Target: 'http://h/?s3cr3t-e', Driver: nacos}
AlertWebHook: https://h/s3cr3t-f/send?access_token=s3cr3t-f
Zebra: s3cr3t-g
"""


def test_no_secret_is_ever_printed(file: Path):
    loaded = load(file, SECRET_FILE)
    printed = f"{loaded!r} {loaded.settings} {list(shown_values(loaded.settings))}"
    assert "s3cr3t" not in printed
    assert ("Store.Password", "(set)") in shown_values(loaded.settings)
    assert loaded.settings.store.password.get_secret_value() == "s3cr3t-a"


@pytest.mark.parametrize(
    "line",
    ["Password: {}", "Password: *{}", "Password: @{}", "Password: '{}", "Password: [{}", "Password: {}: a"],
)
def test_no_secret_is_in_a_problem(file: Path, line: str):
    text = "Store:\n  Driver: nosql\n  Path: ''\n  " + line.format("s3cr3t") + "\n"
    for problem in problems_of(file, text):
        assert "s3cr3t" not in f"{problem} {problem!r}"


@same_files
@given(password=st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1))
def test_any_password_arrives_as_it_is_and_stays_hidden(file: Path, password: str):
    loaded = load(file, yaml.safe_dump({"Store": {"Password": password}}, allow_unicode=True))
    assert loaded.settings.store.password.get_secret_value() == password
    assert dict(shown_values(loaded.settings))["Store.Password"] == "(set)"


# ---- values with a form of their own -------------------------------------------------------------


@pytest.mark.parametrize(
    ("offset", "zone"),
    [
        ("", None),
        ("+8", timezone(timedelta(hours=8))),
        ("8", timezone(timedelta(hours=8))),
        ("-3", timezone(timedelta(hours=-3))),
        ("+05:30", timezone(timedelta(hours=5, minutes=30))),
        ("-03:30", timezone(timedelta(hours=-3, minutes=-30))),
        ("0", timezone(timedelta(0))),
        ("+14", timezone(timedelta(hours=14))),
    ],
)
def test_time_zone_offset_is_hours_east_of_utc(file: Path, offset: str, zone: timezone | None):
    """§9, §13: empty means the process's own zone. Without quotes YAML would make 330 of 05:30."""
    assert load(file, f"TimeZoneOffset: {offset}").settings.time_zone == zone
    assert load(file, f"TimeZoneOffset: '{offset}'").settings.time_zone == zone


@given(minutes=st.integers(-14 * 60, 14 * 60))
def test_any_offset_reads_back(minutes: int):
    text = f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"
    assert Settings(time_zone_offset=text).time_zone == timezone(timedelta(minutes=minutes))


@same_files
@given(number=st.integers(10, 65535), form=st.sampled_from(["{}", "'{}'", "{:#x}", "{:#o}", "{:#b}", "{:_}"]))
def test_any_number_reads_back_in_any_form(file: Path, number: int, form: str):
    assert load(file, f"HttpPort: {form.format(number)}\nGrpcPort: 0").settings.http_port == number


@pytest.mark.parametrize("key", INTEGER_KEYS)
def test_a_number_far_out_of_range_is_an_error_for_every_key(key: str):
    name = next(variable(path) for path, _ in every_field() if key_of(path) == key)
    for text in ("-1", "2147483648", "9" * 20):
        assert [problem.key for problem in problems_of(None, **{name: text})] == [key]
    problems_of(None, **{name: "9" * 5000})  # more digits than Python converts


def test_instance_name_is_host_and_port_unless_given(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "web_1.example/x")
    assert Settings().instance_name == "web_1.example-x-36789"
    assert Settings(http_port=5).instance_name == "web_1.example-x-5"
    assert Settings(instance_name="a").instance_name == "a"
    assert load_settings(None, {"INSTANCE_NAME": "b"}).settings.instance_name == "b"


def test_instances_on_any_free_port_never_share_a_name():
    """They would take each other's transactions back (§9)."""
    assert Settings(http_port=0).instance_name != Settings(http_port=0).instance_name


def test_a_long_host_name_keeps_its_end(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "deployment" * 10 + "-pod7")
    name = Settings().instance_name
    assert len(name) == 64
    assert name.endswith("-pod7-36789")


def test_log_destinations_and_rotation():
    assert Log().destinations == ("stderr",)
    assert Log(outputs="stderr, /tmp/a.log,").destinations == ("stderr", "/tmp/a.log")
    assert Log(rotation_config_json='{"maxsize": 5}').rotation is None
    assert Log(rotation_enable=True, rotation_config_json='{"maxsize": 5}').rotation == {"maxsize": 5}
    assert Log(rotation_config_json="no JSON, and not looked at").rotation is None


def test_store_says_where_it_is_without_its_password():
    assert Store().address == "sqlite file dtm.db"
    store = Store(driver="mysql", host="h", port=1, user="u", password=SecretStr("p"))
    assert store.address == "mysql u@h:1/dtm"


def test_settings_are_frozen_and_know_no_other_fields():
    with pytest.raises(ValidationError):
        Settings().http_port = 5  # type: ignore[misc]
    with pytest.raises(ValidationError):
        MicroService(endpoint="a:1")  # type: ignore[call-arg]


@pytest.mark.parametrize(
    "written",
    [
        "javascript:alert({gid})", "ftp://a/{gid}", "jaeger/{trace_id}", "https://", "https://{gid}/x", "https://a/{gid",
        "https://a/{trace}", "https://a\u202e/{gid}",
    ],
)  # fmt: skip
def test_a_link_leads_to_a_page_of_one_host(file: Path, written: str):
    with pytest.raises(ConfigError) as raised:
        load(file, yaml.safe_dump({"Links": {"Trace": written}}))
    assert raised.value.problems[0].key == "Links.Trace"


# ---- conf.sample.yml and docs/configuration.md ---------------------------------------------------


def _with_keys(sample: str) -> str:
    return re.sub(r"^( *)#([A-Za-z]+:)", r"\1\2", sample, flags=re.MULTILINE)


def test_the_sample_as_it_is_sets_nothing():
    loaded = load_settings(ROOT / "conf.sample.yml", {})
    assert (loaded.settings, loaded.warnings, loaded.sources) == (FROM_FILE, (), {})


def test_the_sample_names_every_key_with_its_default(file: Path):
    loaded = load(file, _with_keys((ROOT / "conf.sample.yml").read_text(encoding="utf-8")))
    assert loaded.settings == FROM_FILE
    assert loaded.warnings == ()
    assert set(loaded.sources) == set(PROTOCOL_DEFAULTS | OWN_DEFAULTS)


def _documented() -> Iterator[tuple[str, tuple[str, str]]]:
    text = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    for match in re.finditer(r"^\| `([A-Za-z.]+)` \| `([A-Z_]+)` \| (.+?) \|", text, re.MULTILINE):
        yield match[1], (match[2], match[3].strip("`"))


def test_the_document_lists_every_key_with_variable_and_default():
    listed = list(_documented())
    defaults: Mapping[str, str] = dict(shown_values(Settings())) | {
        "Store.Password": "",
        "HttpMicroService.RegistryOptions": "{}",
        "InstanceName": "(host name, `-`, HttpPort)",
    }
    assert dict(listed) == {
        key_of(path): (variable(path), defaults[key_of(path)] or "(empty)") for path, _ in every_field()
    }
    assert len(listed) == len(dict(listed))


def test_postgres_listens_on_its_own_port_unless_told_otherwise(file: Path) -> None:
    text = "Store:\n  Driver: postgres\n  Host: db\n  User: dtm\n"
    assert load(file, text).settings.store.address == "postgres dtm@db:5432/dtm"
    assert load(file, text + "  Port: 6432\n").settings.store.port == 6432


def test_the_other_name_of_postgres_is_understood_as_a_slip(file: Path) -> None:
    [problem] = problems_of(file, "Store:\n  Driver: postgresql")
    assert "Did you mean postgres?" in str(problem)


@pytest.mark.parametrize("written", ["1.1", "-0.1", "nan", "half"])
def test_a_sampler_is_a_share(file: Path, written: str):
    [problem] = problems_of(file, f"Telemetry:\n  Sampler: {written}\n")
    assert problem.key == "Telemetry.Sampler"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("", None),
        ("Store:\n  Retention: 7d\n", timedelta(days=7)),
        ("Store:\n  Retention: 90m\n", timedelta(minutes=90)),
        ("Store:\n  Retention: 0\n", timedelta(0)),
        ("Store:\n  FinishedDataExpire: 86400\n", timedelta(days=1)),
        ("Store:\n  FinishedDataExpire: 60\n", timedelta(hours=1)),
        ("Store:\n  FinishedDataExpire: 0\n", timedelta(0)),
        ("Store:\n  Retention: 2d\n  FinishedDataExpire: 60\n", timedelta(days=2)),
        (f"{MYSQL}  FinishedDataExpire: 60\n", None),
        (f"{MYSQL}  Retention: 30d\n", timedelta(days=30)),
    ],
)
def test_how_long_what_has_ended_is_kept(file: Path, text: str, kept: timedelta | None) -> None:
    assert load(file, text).settings.store.kept == kept


@pytest.mark.parametrize("written", ["7", "a week", "-7d", "7 d", "1e3d", "1m", "59m"])
def test_what_is_no_retention_is_refused(file: Path, written: str) -> None:
    [problem] = problems_of(file, f"Store:\n  Retention: {written}\n")
    assert str(problem).startswith(f"{file}:2: Store.Retention: ")


def test_an_archive_must_be_writable(file: Path) -> None:
    [problem] = problems_of(file, "Store:\n  ArchivePath: /nowhere/ended.jsonl\n")
    assert "Store.ArchivePath: '/nowhere/ended.jsonl' is in the folder /nowhere" in str(problem)


def test_several_processes_need_a_database_and_ports(file: Path):
    assert load(file, MYSQL + "Workers: 4\n").settings.workers == 4
    for text, problem in (
        ("Workers: 4\n", "Workers: is 4, but one process alone may write a SQLite file"),
        (MYSQL + "Workers: 4\nHttpPort: 0\n", "HttpPort: is 0, any free port"),
        (MYSQL + "Workers: 0\n", "Workers"),
        (MYSQL + "Workers: 65\n", "Workers"),
    ):
        with pytest.raises(ConfigError) as raised:
            load(file, text)
        assert problem in str(raised.value)
