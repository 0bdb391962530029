"""Everything that can be set, as one frozen object: name, type, unit, default (PROTOCOL §13).

The YAML key of a field is its name in PascalCase (`http_port` ↔ `HttpPort`), its environment variable the
path in capitals (`store.driver` ↔ `STORE_DRIVER`). The types hold whatever can work, so that a test may build
`Settings(retry_interval=1)`; what an operator may not do is in `config.load_settings`.
"""

import json
import re
import secrets
import socket
from datetime import timedelta, timezone
from typing import Annotated, Any, Final, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
)
from pydantic.fields import FieldInfo

from coordinator.config.access import Access
from coordinator.config.frozen import Frozen as _Frozen
from coordinator.config.links import Links
from coordinator.config.network import Branches, Operators, Tls
from coordinator.config.oidc import Oidc
from coordinator.config.store import INTEGER_MAX, Count, Port, Store

ALERT_RETRY_LIMIT_MAX: Final = 30  # each failure doubles the interval: 34 years after one second
INSTANCE_NAME_CHARACTERS_MAX: Final = 64  # owner tokens are varchar(128) and hold two counters too

WORKERS_MAX: Final = 64
ROTATION_KEYS: Final = ("maxsize", "maxage", "maxbackups")  # whole numbers, lumberjack's names

Seconds = Annotated[int, Field(ge=1, le=INTEGER_MAX)]
Bound = Annotated[int, Field(ge=1, le=INTEGER_MAX)]


def _known_discovery(driver: object) -> object:
    if isinstance(driver, str) and driver.startswith("dtm-driver-") and driver != "dtm-driver-gozero":
        raise ValueError(f"the driver {driver} is not built yet; use default or dtm-driver-gozero")
    return driver or "default"


def _log_level(level: object) -> object:
    # The reference's logger knows three levels above error and takes capitals; both are common in files.
    lower = level.lower() if isinstance(level, str) else level
    return {"warning": "warn", "dpanic": "error", "panic": "error", "fatal": "error"}.get(str(lower), lower)


def _countable_doublings(limit: int) -> int:
    return min(limit, ALERT_RETRY_LIMIT_MAX)  # a bigger one stands in files for "never", which this is too


AlertRetryLimit = Annotated[Count, AfterValidator(_countable_doublings)]
DiscoveryDriver = Annotated[Literal["default", "dtm-driver-gozero"], BeforeValidator(_known_discovery)]
LogLevel = Annotated[Literal["debug", "info", "warn", "error"], BeforeValidator(_log_level)]


def yaml_key(name: str) -> str:
    """The key of a field in conf.yml: `http_port` → `HttpPort`."""
    return name.title().replace("_", "").replace("ConfigJson", "ConfigJSON")


def variable(path: tuple[str, ...]) -> str:
    """The environment variable of a field: `("store", "driver")` → `STORE_DRIVER`."""
    name = "_".join(path).upper().rstrip("_")
    # HOST alone is set by shells and build tools to something else entirely.
    return "DTM_HOST" if name == "HOST" else name


def section_of(info: FieldInfo) -> type[BaseModel] | None:
    """The model of a field that is a section of conf.yml; None for a single value."""
    kind = info.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


class MicroService(_Frozen):
    """How coordinator and branches find each other over gRPC (PROTOCOL §11)."""

    driver: DiscoveryDriver = "default"
    # etcd://host:2379/name; empty: register nothing; may hold a password
    target: str = Field(default="", repr=False)
    target_file: str = ""  # file that holds it
    tls: bool = False  # whether etcd is spoken to with TLS; with one of these files it is, anyhow
    ca_file: str = ""  # who signs its certificate; empty: whom the system trusts
    cert_file: str = ""  # what is shown to it
    key_file: str = ""  # its key; empty: in cert_file
    end_point: str = ""  # host:port by which others reach GrpcPort


class HttpMicroService(_Frozen):
    """The reference's registries for HTTP. Taken, not used: no such driver is built yet."""

    driver: str = "default"
    registry_type: str = ""
    registry_address: str = ""
    registry_options: str = Field(default="{}", repr=False)  # JSON; may hold a password
    target: str = Field(default="", repr=False)
    end_point: str = ""


class Log(_Frozen):
    """Where log lines go."""

    outputs: str = "stderr"  # stderr, stdout and paths of files, separated by commas
    rotation_enable: bool = False  # whether files rotate
    # JSON object: maxsize (MB), maxage (days), maxbackups, localtime, compress
    rotation_config_json: str = "{}"
    slow_database_millis: Count = 100  # from how long on a database call is said to be slow; 0: never
    slow_branch_millis: Count = 500  # the same for a branch call

    @property
    def destinations(self) -> tuple[str, ...]:
        """The single outputs, without blanks around them; never empty."""
        found = tuple(name.strip() for name in self.outputs.split(",") if name.strip())
        return found or ("stderr",)

    @property
    def rotation(self) -> dict[str, Any] | None:
        """What rotation_config_json holds; None when files do not rotate."""
        if not self.rotation_enable:
            return None
        options: dict[str, Any] = json.loads(self.rotation_config_json)
        return options

    @field_validator("rotation_config_json")
    @classmethod
    def _is_json_object(cls, text: str, info: ValidationInfo) -> str:
        if not info.data.get("rotation_enable"):
            return text  # the reference does not look at it either
        try:
            options = json.loads(text)
        except (ValueError, RecursionError):
            options = None
        if not isinstance(options, dict):
            raise ValueError('this is not a JSON object such as {"maxsize": 100, "maxbackups": 5}')
        return text


class Telemetry(_Frozen):
    """Where spans go, as go-zero's services have it; the standard OTEL_ variables win."""

    name: str = "dtm"  # of this service, as traces show it
    endpoint: str = Field(default="", repr=False)  # http://host:14268/api/traces, host:4317 …; empty: off
    endpoint_file: str = ""  # file that holds it
    sampler: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = 1.0  # share of traces
    batcher: Literal["jaeger", "zipkin", "otlpgrpc", "otlphttp", "console", "file"] = "jaeger"


class Settings(_Frozen):
    """The whole configuration. Fields up to admin_base_path are the protocol's, those after it our own."""

    store: Store = Store()
    trans_cron_interval: Seconds = 3  # between two looks for due transactions
    timeout_to_fail: Seconds = 35  # until a prepared tcc or xa is cancelled, a prepared msg asked about
    retry_interval: Seconds = 10  # until an unfinished transaction is tried again
    request_timeout: Seconds = 3  # one call of a branch
    http_port: Port = 36789
    grpc_port: Port = 36790
    json_rpc_port: Port = 36791  # taken, not listened on: JSON-RPC is a path of http_port
    micro_service: MicroService = MicroService()
    http_micro_service: HttpMicroService = HttpMicroService()
    update_branch_sync: bool = True  # taken, no effect: results are always stored before the next step
    update_branch_async_goroutine_num: Count = 1  # taken, no effect
    grpc_service_config: str = ""  # taken, no effect
    grpc_balancer: str = ""  # `round_robin`: a gRPC `host:port` is every address behind the name
    log_level: LogLevel = "info"
    log: Log = Log()
    time_zone_offset: str = ""  # hours east of UTC, `+8` or `+05:30`; empty: the process's own zone
    config_update_interval: Seconds = 3  # until other coordinators see a changed topic
    alert_retry_limit: AlertRetryLimit = 3  # failures of a branch before alert_web_hook is called
    alert_on_end: bool = True  # whether alert_web_hook also hears of the end of what was reported
    alert_web_hook: str = Field(default="", repr=False)  # url; tokens are often part of it
    alert_web_hook_file: str = ""  # file that holds it
    admin_base_path: str = ""  # where the console is too, beside `/`: `/dtm` behind a proxy that keeps it

    # Address to listen on. A conf.yml that names none means all of them, as it does for the reference.
    host: str = Field(default="127.0.0.1", min_length=1)
    instance_name: str = Field(default="", validate_default=True)  # filled in: host name and http_port
    workers: Annotated[int, Field(ge=1, le=WORKERS_MAX)] = 1  # processes that share the ports
    retry_interval_max: Seconds = 300  # cap of the doubling intervals
    request_timeout_max: Seconds = 300  # what clients may ask for as request_timeout
    option_seconds_max: Seconds = 31_536_000  # the same of timeout_to_fail, retry_interval and delay: a year
    body_bytes_max: Bound = 4 << 20  # of one request
    answer_bytes_max: Bound = 1 << 20  # of one branch's answer; more is not read
    concurrency_max: Bound = 4096  # transactions driven at once
    endpoint_concurrency_max: Bound = 256  # calls in flight to one branch endpoint
    bytes_in_flight_max: Bound = 64 << 20  # payloads of the transactions driven at once
    recovery_concurrency_max: Bound = 512  # taken, without effect: what is due has ConcurrencyMax as well
    branches: Branches = Branches()
    tls: Tls = Tls()
    operators: Operators = Operators()
    telemetry: Telemetry = Telemetry()
    access: Access = Access()
    links: Links = Links()
    oidc: Oidc = Oidc()
    attempt_days: Annotated[int, Field(ge=1, le=36_500)] = 7  # that failed calls outlive their transaction

    @property
    def time_zone(self) -> timezone | None:
        """The zone of the database's datetime columns; None for the process's own (PROTOCOL §9)."""
        return _parse_offset(self.time_zone_offset)

    @field_validator("time_zone_offset")
    @classmethod
    def _is_offset(cls, text: str) -> str:
        _parse_offset(text)
        return text

    @field_validator("instance_name")
    @classmethod
    def _fill_in(cls, name: str, info: ValidationInfo) -> str:
        if not name:
            return _default_instance_name(info.data.get("http_port", 0))
        if len(name) > INSTANCE_NAME_CHARACTERS_MAX or not re.fullmatch(r"[A-Za-z0-9._:@-]+", name):
            raise ValueError(
                f"an instance name has at most {INSTANCE_NAME_CHARACTERS_MAX} letters, digits and . _ : @ -"
            )
        return name


def _default_instance_name(http_port: int) -> str:
    """Host name and port; with port 0 a random word, as instances of one name take each other's work."""
    suffix = f"-{http_port or secrets.token_hex(4)}"
    host = re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname())
    return host[-(INSTANCE_NAME_CHARACTERS_MAX - len(suffix)) :] + suffix  # what tells pods apart stands last


def _parse_offset(text: str) -> timezone | None:
    if not text.strip():
        return None
    match = re.fullmatch(r"([+-]?)(\d{1,2})(?::([0-5]\d))?", text.strip(), flags=re.ASCII)
    offset = timedelta(hours=int(match[2]), minutes=int(match[3] or 0)) if match else None
    if match is None or offset is None or offset > timedelta(hours=14):
        raise ValueError("this is no offset from UTC in hours, such as +8, -3 or +05:30, at most 14")
    return timezone(-offset if match[1] == "-" else offset)
