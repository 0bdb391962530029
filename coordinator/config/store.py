"""The section `Store` of the configuration: where transactions are kept, and for how long."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationInfo, field_validator

from coordinator.config.frozen import Frozen

INTEGER_MAX: Final = 2**31 - 1  # what the int columns of the tables hold
RETENTION_LEAST: Final = timedelta(hours=1)  # a client may ask about its transaction, or repeat it
_UNITS: Final = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}
POSTGRES_PORT: Final = 5432

Count = Annotated[int, Field(ge=0, le=INTEGER_MAX)]  # 0: no bound
Port = Annotated[int, Field(ge=0, le=65535)]  # 0 when listening: any free port


def _known_store(driver: object) -> object:
    if driver == "boltdb":  # the reference's embedded default; ours is SQLite
        return "sqlite"
    if driver in {"redis", "sqlserver"}:
        raise ValueError(f"the driver {driver} is not built yet; use sqlite, mysql or postgres")
    return driver


def _not_in_memory(path: Path) -> Path:
    if str(path) in {".", ":memory:"}:
        raise ValueError("this is not the path of a file; a database in memory would lose every transaction")
    return path


def age_of(text: str) -> timedelta:
    """`90m`, `12h`, `7d`, or `0`. Raises ValueError."""
    read = re.fullmatch(r"([0-9]{1,5})([smhd]?)", text.strip(), re.ASCII)
    if read is None or (not read[2] and int(read[1])):
        raise ValueError("this is no length of time such as 12h or 7d, with s, m, h or d; 0 is for ever")
    return int(read[1]) * _UNITS.get(read[2], timedelta(0))


def _is_age(text: str) -> str:
    age_of(text or "0")
    return text


StoreDriver = Annotated[Literal["sqlite", "mysql", "postgres"], BeforeValidator(_known_store)]


class Store(Frozen):
    """Where transactions are kept."""

    driver: StoreDriver = "sqlite"
    path: Annotated[Path, AfterValidator(_not_in_memory)] = Path("dtm.db")  # sqlite: the file
    host: str = ""  # mysql, postgres: host name or address of the server
    port: Annotated[Port, Field(validate_default=True)] = 0  # postgres: 0 is its own, 5432
    user: str = ""
    password: SecretStr = SecretStr("")
    password_file: str = ""  # file that holds it
    tls: bool = False  # whether the server is spoken to with TLS; with one of these files it is, anyhow
    ca_file: str = ""  # who signs its certificate; empty: whom the system trusts
    cert_file: str = ""  # what is shown to it
    key_file: str = ""  # its key; empty: in cert_file
    db: str = "dtm"  # the database of the coordinator's tables
    # postgres: where the coordinator's tables are. The underscore keeps clear of pydantic's own name.
    schema_: str = "public"
    max_open_conns: Count = 500  # connections
    max_idle_conns: Count = 500  # connections kept open while unused
    conn_max_life_time: Count = 5  # minutes; 0: for ever
    data_expire: Count = 604_800  # seconds; redis
    finished_data_expire: Count = 86_400  # seconds; redis, and sqlite where it is given and retention is not
    # What has ended is kept so long: 90m, 12h, 7d; 0: for ever. Empty: 7d in tables that were made by us.
    retention: Annotated[str, AfterValidator(_is_age)] = ""
    archive_path: str = ""  # the file of JSON lines that it is written to before it is deleted; empty: none
    redis_prefix: str = "{a}"  # redis: keeps all keys in one slot of a cluster

    @field_validator("port")
    @classmethod
    def _own_port(cls, port: int, info: ValidationInfo) -> int:
        return POSTGRES_PORT if info.data.get("driver") == "postgres" and not port else port

    @property
    def kept(self) -> timedelta | None:
        """How long what has ended is kept; zero: for ever, None: not said."""
        if self.retention:
            return age_of(self.retention)
        if self.driver == "sqlite" and "finished_data_expire" in self.model_fields_set:
            least = RETENTION_LEAST if self.finished_data_expire else timedelta(0)
            return max(timedelta(seconds=self.finished_data_expire), least)
        return None

    @property
    def address(self) -> str:
        """Where that is, for people; no secrets: `sqlite file dtm.db`, `mysql root@localhost:3306/dtm`."""
        if self.driver == "sqlite":
            return f"sqlite file {self.path}"
        return f"{self.driver} {self.user}@{self.host}:{self.port}/{self.db}"
