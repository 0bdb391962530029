"""What is drawn, piece by piece, with its place: no text of others that is longer than its room."""

from dataclasses import dataclass

from coordinator.timeline.model import Shape


@dataclass(frozen=True, slots=True)
class Box:
    """What a piece takes up."""

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, slots=True)
class Text:
    """One line of text. x: where it begins, or ends where `anchor` is `end`. width: that it takes at most."""

    x: float
    y: float  # of its base line
    text: str
    kind: str  # class of the stylesheet
    width: float
    anchor: str = "start"

    @property
    def box(self) -> Box:
        """What it takes up."""
        left = {"start": self.x, "middle": self.x - self.width / 2, "end": self.x - self.width}[self.anchor]
        return Box(left, self.y - 11, left + self.width, self.y + 3)


@dataclass(frozen=True, slots=True)
class Line:
    """A straight line, from the first point to the second."""

    left: float
    top: float
    right: float
    bottom: float
    kind: str

    @property
    def box(self) -> Box:
        """What it takes up."""
        return Box(self.left, self.top, self.right, self.bottom)


@dataclass(frozen=True, slots=True)
class Band:
    """Time that something waits: hatched."""

    left: float
    right: float
    y: float  # of its middle
    kind: str
    title: str

    @property
    def box(self) -> Box:
        """What it takes up."""
        return Box(self.left, self.y - 4, self.right, self.y + 4)


@dataclass(frozen=True, slots=True)
class Sign:
    """A mark."""

    shape: Shape
    x: float
    y: float
    title: str

    @property
    def box(self) -> Box:
        """What it takes up."""
        return Box(self.x - 7, self.y - 7, self.x + 7, self.y + 7)


@dataclass(frozen=True, slots=True)
class Area:
    """Where it has not happened yet."""

    box: Box
    kind: str


Piece = Text | Line | Band | Sign | Area


@dataclass(frozen=True, slots=True)
class Drawing:
    """A whole picture. pieces: what stands behind first."""

    width: float
    height: float
    summary: str
    pieces: tuple[Piece, ...]
