"""Bar charts as SVG, drawn here so that nothing has to be installed for them. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

COLOURS = ("#2f6fb5", "#d98032", "#4b9a5a", "#8e62b0", "#b8484e", "#707070")
_WIDTH, _LABELS, _VALUES = 760, 150, 90  # pixels: all, left of the bars, right of them
_BAR, _GAP, _TOP, _FOOT = 15, 12, 58, 26
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#24292f}.title{font-weight:600;font-size:14px}"
    ".grid{stroke:#d0d7de}@media(prefers-color-scheme:dark){text{fill:#e6edf3}.grid{stroke:#444c56}}"
)


@dataclass(frozen=True, slots=True)
class Group:
    """Bars that stand together, one of each series: its parts, drawn end to end; None: not measured."""

    label: str
    bars: Sequence[Sequence[float] | None]


def chart(title: str, series: Sequence[str], groups: Sequence[Group]) -> str:
    """Draw horizontal bars; the first part of each is solid, further ones are paler. Numbers are whole."""
    longest = max((sum(bar) for group in groups for bar in group.bars if bar), default=0)
    step = round_step(longest)
    ceiling = max(step, math.ceil(longest / step) * step)
    scale = (_WIDTH - _LABELS - _VALUES) / ceiling
    bottom = _TOP + len(groups) * (len(series) * _BAR + _GAP)
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" viewBox="0 0 {_WIDTH} {bottom + _FOOT}"'
        f' width="{_WIDTH}" height="{bottom + _FOOT}">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style>",
        f'<text class="title" x="4" y="18">{escape(title)}</text>',
        *_legend(series),
        *_grid(ceiling, step, scale, bottom),
    ]
    top = _TOP
    for group in groups:
        middle = top + len(series) * _BAR / 2 + 4
        drawn.append(f'<text x="4" y="{middle:.0f}">{escape(group.label)}</text>')
        for place, bar in enumerate(group.bars):
            drawn += _bar(bar, top + place * _BAR, scale, COLOURS[place % len(COLOURS)])
        top += len(series) * _BAR + _GAP
    return "\n".join([*drawn, "</svg>", ""])


def round_step(longest: float) -> float:
    """The distance of grid lines: 1, 2 or 5 times a power of ten, so that at most six are needed."""
    if longest <= 0:
        return 1
    power = 10.0 ** math.floor(math.log10(longest / 6))
    return next(power * factor for factor in (1, 2, 5, 10, 20) if power * factor * 6 >= longest)


def _legend(series: Sequence[str]) -> list[str]:
    drawn, left = [], 4
    for place, name in enumerate(series):
        colour = COLOURS[place % len(COLOURS)]
        drawn.append(f'<rect x="{left}" y="29" width="11" height="11" fill="{colour}"/>')
        drawn.append(f'<text x="{left + 16}" y="39">{escape(name)}</text>')
        left += 36 + 8 * len(name)
    return drawn


def _grid(ceiling: float, step: float, scale: float, bottom: int) -> list[str]:
    drawn = []
    for line in range(round(ceiling / step) + 1):
        x = _LABELS + line * step * scale
        drawn.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP - 6}" y2="{bottom}"/>')
        drawn.append(f'<text x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">{line * step:,.0f}</text>')
    return drawn


def _bar(parts: Sequence[float] | None, top: int, scale: float, colour: str) -> list[str]:
    if parts is None:
        return [f'<text x="{_LABELS + 4}" y="{top + 11}">not measured</text>']
    drawn, left = [], float(_LABELS)
    for place, part in enumerate(parts):
        drawn.append(
            f'<rect x="{left:.1f}" y="{top + 1}" width="{part * scale:.1f}" height="{_BAR - 2}"'
            f' fill="{colour}" fill-opacity="{1 if place == 0 else 0.5}"/>'
        )
        left += part * scale
    return [*drawn, f'<text x="{left + 5:.1f}" y="{top + 12}">{sum(parts):,.0f}</text>']
