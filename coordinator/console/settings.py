"""The configuration that is in force here, without passwords and tokens."""

from collections.abc import Sequence
from dataclasses import dataclass

from coordinator.access.permissions import Permission, looks
from coordinator.console.page import Content, Page, Shown, Visit


@dataclass(frozen=True, slots=True)
class Setting:
    """One key, its value as it may be shown, and whether that is the default.

    source: where it was written, `conf.yml:3` or `environment HTTP_PORT`; empty where nobody wrote it.
    """

    key: str
    value: str
    is_default: bool
    source: str = ""


class SettingsPage:
    """settings: in the order of the documentation."""

    def __init__(self, settings: Sequence[Setting]) -> None:
        self._settings = settings

    def all(self) -> Sequence[Page]:
        """The page."""
        return (Page("GET", "/settings", looks(Permission.ADMIN), self._show, place=80),)

    async def _show(self, _: Visit) -> Content:
        changed = sum(not it.is_default for it in self._settings)
        return Shown("settings.html", {"settings": self._settings, "changed": changed})
