"""The yaml files of the branches, in the form that go-zero's services use."""

import os
import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from branches.data_source import MySqlSource, SqliteSource, parse_data_source, split_address

ROOT: Final = Path(__file__).resolve().parents[1]
_VARIABLE: Final = re.compile(r"\$\{(\w+)\}")


class SettingsError(Exception):
    """A yaml file cannot be used; the message names the file, the key and what to write."""


class Section(BaseModel):
    """Keys are read whatever their case; unknown ones are taken: go-zero has many that concern Go only."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=lambda name: name.replace("_", ""))


class EtcdSection(Section):
    """Where to register, or to look. Empty: not at all."""

    hosts: tuple[str, ...] = ()
    key: str = ""
    user: str = ""
    password: str = Field(default="", alias="pass")

    @model_validator(mode="after")
    def _whole(self) -> "EtcdSection":
        if bool(self.hosts) != bool(self.key):
            raise ValueError("give both Hosts and Key, or leave the section out")
        return self

    def __bool__(self) -> bool:
        return bool(self.hosts)


class PrometheusSection(Section):
    """Where metrics are asked for. Without a port: nowhere."""

    host: str = ""
    port: int = Field(default=0, ge=0, le=65535)
    path: str = Field(default="/metrics", pattern="^/")


class TelemetrySection(Section):
    """Where spans go. Without an endpoint: nowhere. The standard OTEL_ variables win."""

    name: str = ""  # as traces show the service; its Name, unless given
    endpoint: str = ""  # http://host:14268/api/traces, host:4317 …
    sampler: float = Field(default=1.0, ge=0, le=1)  # share of the traces that begin here
    batcher: Literal["jaeger", "zipkin", "otlpgrpc", "otlphttp", "console", "file"] = "jaeger"
    otlp_headers: dict[str, str] = Field(default={}, repr=False)
    otlp_http_path: str = ""
    otlp_http_secure: bool = False
    disabled: bool = False


class LogSection(Section):
    """go-zero's log section. Keys that it has beside these are taken."""

    service_name: str = ""
    mode: Literal["console", "file", "volume"] = "console"
    encoding: Literal["", "json", "plain"] = ""  # empty: json, and plain on a terminal
    path: str = "logs"  # folder of the files
    level: Literal["debug", "info", "error", "severe"] = "info"
    keep_days: int = Field(default=0, ge=0)  # 0: for ever
    compress: bool = False
    stack_cooldown_millis: int = Field(default=100, ge=0)
    rotation: Literal["daily", "size"] = "daily"
    max_size: int = Field(default=0, ge=0)  # MB; of `size`
    max_backups: int = Field(default=0, ge=0)  # of `size`; 0: all
    slow_call_millis: int = Field(default=500, ge=0)  # ours: from how long on a call is said; 0: never
    slow_database_millis: int = Field(default=100, ge=0)


class MysqlSection(Section):
    """go-zero's usual place for a data source."""

    data_source: str = ""


class ServiceSettings(Section):
    """What all branches have in common."""

    name: str
    prometheus: PrometheusSection = PrometheusSection()
    telemetry: TelemetrySection = TelemetrySection()
    log: LogSection = LogSection()
    timeout: int = Field(default=2000, gt=0)  # milliseconds that one call may take

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no log line may show."""
        return tuple(self.telemetry.otlp_headers.values())


def _address(text: str) -> str:
    split_address(text)
    return text


class RpcSettings(ServiceSettings):
    """A gRPC service: user, score."""

    listen_on: Annotated[str, AfterValidator(_address)]
    etcd: EtcdSection = EtcdSection()
    mysql: MysqlSection = MysqlSection()
    data_source: str = ""
    sql_folder: Path = ROOT / "sql"  # where the schema files are, for tables that are not there yet

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no log line may show."""
        source = self.source
        password = source.password if isinstance(source, MySqlSource) else ""
        return (*super().secrets, password, self.etcd.password)

    @property
    def source(self) -> SqliteSource | MySqlSource:
        """The database, from DataSource or Mysql.DataSource."""
        return parse_data_source(self.data_source or self.mysql.data_source)

    @model_validator(mode="after")
    def _has_source(self) -> "RpcSettings":
        if not self.data_source and not self.mysql.data_source:
            raise ValueError("DataSource is missing (or Mysql: DataSource)")
        parse_data_source(self.data_source or self.mysql.data_source)
        return self


class ScoreSettings(RpcSettings):
    """The score service."""

    score_limit: int = 100  # a higher score is refused, so that a rollback can be seen


class RpcClient(Section):
    """A gRPC service to call: by its addresses, by its key in etcd, or by a target written out."""

    etcd: EtcdSection = EtcdSection()
    endpoints: tuple[str, ...] = ()
    target: str = ""

    @property
    def url(self) -> str:
        """What stands before `/package.Service/method` in a branch's url."""
        if self.target:
            return self.target.rstrip("/")
        if len(self.endpoints) == 1:
            return self.endpoints[0]
        if self.endpoints:
            return f"direct:///{','.join(self.endpoints)}"
        return f"etcd://{','.join(self.etcd.hosts)}/{self.etcd.key}"

    @model_validator(mode="after")
    def _known(self) -> "RpcClient":
        if not (self.target or self.endpoints or self.etcd):
            raise ValueError("give Endpoints, Etcd (Hosts and Key) or Target")
        for endpoint in self.endpoints:
            split_address(endpoint)
        return self


class ApiSettings(ServiceSettings):
    """The registration API."""

    host: str = "127.0.0.1"
    port: int = Field(ge=0, le=65535)
    max_bytes: int = Field(default=1024 * 1024, gt=0)  # of a request's body
    timeout: int = Field(default=10_000, gt=0)  # milliseconds until a registration is answered, done or not
    dtm_server: str  # the coordinator's gRPC address
    user_rpc: RpcClient
    score_rpc: RpcClient
    score: int = 10  # what a new user gets unless the request says otherwise


SettingsT = TypeVar("SettingsT", bound=ServiceSettings)


def load_settings(file: Path, kind: type[SettingsT]) -> SettingsT:
    """Read a yaml file. `${NAME}` stands for an environment variable, as in go-zero.

    Raises SettingsError.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise SettingsError(f"{file}: {error.strerror}. Name another file with -f.") from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{file} is not UTF-8 text: {error}") from error
    try:
        content = yaml.safe_load(_VARIABLE.sub(lambda match: os.environ.get(match[1], ""), text))
    except yaml.YAMLError as error:
        raise SettingsError(f"{file} is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise SettingsError(f"{file} is empty or no mapping: write `Name: …` and the other keys, one a line")
    try:
        return kind.model_validate(_lower_keys(content))
    except ValidationError as error:
        raise SettingsError("\n".join(_sentences(file, kind, error))) from error


def _lower_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key).lower(): _lower_keys(item) for key, item in value.items()}
    return value


def _sentences(file: Path, kind: type[Section], error: ValidationError) -> list[str]:
    sentences = []
    for problem in error.errors(include_url=False, include_context=False):
        key = ".".join(_as_written(kind, problem["loc"])) or "file"
        message = problem["msg"].removeprefix("Value error, ")
        sentences.append(f"{file}: {key}: {'is missing' if problem['type'] == 'missing' else message}")
    return sentences


def _as_written(kind: type[Any], location: tuple[int | str, ...]) -> list[str]:
    """The keys of an error as a person writes them: `etcd.hosts.0` is Etcd.Hosts.0."""
    words: list[str] = []
    for part in location:
        name, field = next(
            ((name, field) for name, field in _fields(kind).items() if field.alias == part), (str(part), None)
        )
        words.append("".join(word.capitalize() for word in name.split("_")))
        annotation = field.annotation if field else None
        kind = annotation if isinstance(annotation, type) else object
    return words


def _fields(kind: type[Any]) -> dict[str, Any]:
    return dict(kind.model_fields) if issubclass(kind, BaseModel) else {}
