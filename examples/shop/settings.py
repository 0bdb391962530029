"""Where the shop finds its coordinator, where it listens, where it keeps its rows; and its clock."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Settings:
    """dtm_url: of the coordinator, or of a database: then it is inside of the shop, with its rows there.

    host, port: where the shop listens, and is called. folder: of its rows.
    """

    dtm_url: str = "http://127.0.0.1:36789"
    host: str = "127.0.0.1"
    port: int = 8000
    folder: Path = Path("shop-data")

    @property
    def has_coordinator_inside(self) -> bool:
        """Whether the shop needs no other program."""
        return self.dtm_url.startswith(("sqlite://", "mysql://", "postgresql://"))

    @property
    def url(self) -> str:
        """What the coordinator calls the shop by."""
        return f"http://{self.host}:{self.port}"


def settings_from(environment: Mapping[str, str]) -> Settings:
    """Read DTM_URL, SHOP_HOST, SHOP_PORT and SHOP_DATA; what is not there is as above."""
    usual = Settings()
    return Settings(
        dtm_url=environment.get("DTM_URL", usual.dtm_url),
        host=environment.get("SHOP_HOST", usual.host),
        port=int(environment.get("SHOP_PORT", usual.port)),
        folder=Path(environment.get("SHOP_DATA", usual.folder)),
    )


def utc_now() -> datetime:
    """The clock by which its workflows sleep, unless a test has another."""
    return datetime.now(UTC)
