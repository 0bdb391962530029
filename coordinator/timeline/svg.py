"""A drawing as SVG: classes for the stylesheet, a title for each mark, nothing that could be obeyed. Pure."""

from html import escape
from typing import Final

from coordinator.timeline.drawing import Area, Band, Drawing, Line, Piece, Sign, Text
from coordinator.timeline.model import Shape

_HATCH: Final = 6  # from one stroke to the next
_HALF: Final = 4


def svg_of(drawing: Drawing) -> str:
    """The SVG of it, to stand inside a page, as wide as its place is; its colours are the stylesheet's."""
    view = f"0 0 {_number(drawing.width)} {_number(drawing.height)}"
    pieces = "".join(_piece(piece) for piece in drawing.pieces)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="timeline" viewBox="{view}" role="img"'
        f' aria-label="{escape(drawing.summary)}">{pieces}</svg>'
    )


def _piece(piece: Piece) -> str:
    match piece:
        case Text():
            return _text(piece)
        case Line():
            ends = _attributes(x1=piece.left, y1=piece.top, x2=piece.right, y2=piece.bottom)
            return f'<line class="{escape(piece.kind)}"{ends}/>'
        case Band():
            return (
                f'<path class="band {escape(piece.kind)}" d="{_hatched(piece)}">{_title(piece.title)}</path>'
            )
        case Sign():
            return f'<g class="mark {piece.shape.value}">{_title(piece.title)}{_sign(piece)}</g>'
        case Area():
            box = piece.box
            size = _attributes(x=box.left, y=box.top, width=box.right - box.left, height=box.bottom - box.top)
            return f'<rect class="{escape(piece.kind)}"{size}/>'


def _text(piece: Text) -> str:
    if not piece.text:
        return ""
    anchor = "" if piece.anchor == "start" else f' text-anchor="{escape(piece.anchor)}"'
    place = _attributes(x=piece.x, y=piece.y)
    return f'<text class="{escape(piece.kind)}"{place}{anchor}>{escape(piece.text)}</text>'


def _title(text: str) -> str:
    return f"<title>{escape(text)}</title>" if text else ""


def _hatched(band: Band) -> str:
    """Slanting strokes from the left to the right."""
    strokes = []
    left, top, bottom = band.left, _number(band.y - _HALF), _number(band.y + _HALF)
    while left + 2 * _HALF <= band.right:
        strokes.append(f"M{_number(left)} {bottom}L{_number(left + 2 * _HALF)} {top}")
        left += _HATCH
    return "".join(strokes)


def _sign(sign: Sign) -> str:
    x, y = sign.x, sign.y
    match sign.shape:
        case Shape.DONE:
            return f"<circle{_attributes(cx=x, cy=y, r=6)}/>"
        case Shape.REGISTERED:
            return f"<circle{_attributes(cx=x, cy=y, r=4)}/>"
        case Shape.FAILED:
            return _path(f"M{_number(x - 5)} {_number(y - 5)}l10 10m0 -10l-10 10")
        case Shape.UNDONE:
            return _path(f"M{_number(x)} {_number(y - 6.5)}l7 12h-14z")
        case Shape.ONGOING:
            half = _path(f"M{_number(x)} {_number(y - 6)}a6 6 0 0 0 0 12z", "half")
            return f"<circle{_attributes(cx=x, cy=y, r=6)}/>{half}"
        case Shape.BEGUN:
            return _path(f"M{_number(x)} {_number(y - 7)}v14")
        case Shape.ENDED:
            return f"<rect{_attributes(x=x - 5, y=y - 5, width=10, height=10)}/>"
        case Shape.FORECAST | Shape.AGAIN:
            return f'<rect{_attributes(x=x - 6, y=y - 6, width=12, height=12)} rx="2"/>'


def _path(data: str, kind: str = "") -> str:
    return f'<path class="{kind}" d="{data}"/>' if kind else f'<path d="{data}"/>'


def _attributes(**values: float) -> str:
    return "".join(f' {name}="{_number(value)}"' for name, value in values.items())


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")
