"""How times and lengths of time are written: absolute and relative. Pure."""

from datetime import datetime, tzinfo
from typing import Final

from markupsafe import Markup

_UNITS: Final = ((86_400, "d"), (3600, "h"), (60, "min"), (1, "s"))


def length(seconds: float) -> str:
    """`146 ms`, `2.4 s`, `59 s`, `3 min 12 s`, `2 h 31 min`, `4 d 3 h`; never more than two parts."""
    if seconds < 0:
        seconds = 0.0
    if seconds < 1:
        return f"{round(seconds * 1000)} ms" if round(seconds * 1000) < 1000 else "1 s"
    if seconds < 10:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    whole = round(seconds)
    for place, (size, unit) in enumerate(_UNITS):
        if whole >= size:
            count, rest = divmod(whole, size)
            if place + 1 == len(_UNITS):
                return f"{count} {unit}"
            lesser, name = _UNITS[place + 1]
            return f"{count} {unit} {rest // lesser} {name}" if rest // lesser else f"{count} {unit}"
    return "0 s"


class Clockface:
    """Writes moments as seen at `now`, in a zone. now: aware. zone: None is the machine's own."""

    def __init__(self, now: datetime, zone: tzinfo | None) -> None:
        self.now = now
        self._zone = zone
        self._today = self._local(now).date()

    def at(self, moment: datetime | None) -> Markup:
        """The time of day, before it the day where it is not today's; how long ago stands in its title."""
        if moment is None:
            return Markup("–")
        local = self._local(moment)
        text = f"{local:%H:%M:%S}" if local.date() == self._today else f"{local:%Y-%m-%d %H:%M:%S}"
        return self._marked(moment, text, self._relative(moment))

    def ago(self, moment: datetime | None) -> Markup:
        """How long ago, or in how long; the time itself stands in its title."""
        if moment is None:
            return Markup("–")
        text = length(abs((self.now - moment).total_seconds()))
        return self._marked(moment, text, f"{self._local(moment):%Y-%m-%d %H:%M:%S}", relative=True)

    @property
    def zone_name(self) -> str:
        """What the zone is called: `UTC`, `UTC+08:00`, `CET`."""
        return self._local(self.now).tzname() or ""

    def _relative(self, moment: datetime) -> str:
        seconds = (self.now - moment).total_seconds()
        return f"− {length(seconds)}" if seconds >= 0 else f"+ {length(-seconds)}"

    def _local(self, moment: datetime) -> datetime:
        try:
            return moment.astimezone(self._zone)
        except (OverflowError, ValueError):  # the first and the last year, in rows of other programs
            return moment

    def _marked(self, moment: datetime, text: str, title: str, *, relative: bool = False) -> Markup:
        kind = Markup(' class="relative"') if relative else Markup("")
        return Markup('<time datetime="{}" title="{}"{}>{}</time>').format(
            moment.isoformat(), title, kind, text
        )
