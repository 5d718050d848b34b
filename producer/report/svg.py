"""Plots as SVG in the page: matplotlib draws, and what it drew is made to belong to a page.

Colours become the page's CSS variables (so that dark mode and print are the style sheet's business), ids become unique
in the page, the text stays text, and every plot gets a title and a description for those who do not see it.
"""

import io
import re
from typing import Any, Final, Self
from xml.etree import ElementTree as ET

from markupsafe import Markup
from matplotlib import rc_context
from matplotlib.figure import Figure

SVG: Final = "http://www.w3.org/2000/svg"
XLINK: Final = "http://www.w3.org/1999/xlink"
ET.register_namespace("", SVG)
ET.register_namespace("xlink", XLINK)

# No plot uses these shades otherwise: each stands for the style sheet's variable of that name.
INK: Final = "#010101"
MUTED: Final = "#020202"
LINE: Final = "#030303"
ACCENT: Final = "#040404"
WARN: Final = "#050505"
SURFACE: Final = "#060606"
SCALE: Final = ("#0a0a0a", "#0b0b0b", "#0c0c0c", "#0d0d0d", "#0e0e0e")
"""From the worst to the best."""
VARIABLES: Final = {
    INK: "ink",
    MUTED: "muted",
    LINE: "line",
    ACCENT: "accent",
    WARN: "warn",
    SURFACE: "surface",
    **{shade: f"scale-{number}" for number, shade in enumerate(SCALE)},
}
PIXELS_PER_INCH: Final = 96
_SHADE: Final = re.compile("|".join(VARIABLES))
_STYLE: Final[Any] = {
    "svg.fonttype": "none",
    "font.size": 9,  # points: 12 CSS pixels
    "text.color": INK,
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.unicode_minus": True,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "grid.color": LINE,
    "grid.linewidth": 0.6,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}


class Plot:
    """A plot under construction: draw on `figure` inside the block, then ask for `svg`."""

    def __init__(self, name: str, width: int, height: int) -> None:
        """Begin a plot.

        Args:
            name: unique in the page.
            width: in CSS pixels, as the page shows it where there is room.
            height: likewise.
        """
        self.name, self.width = name, width
        self._style = rc_context({**_STYLE, "svg.hashsalt": name})
        self._size = (width / PIXELS_PER_INCH, height / PIXELS_PER_INCH)
        self.figure: Figure

    def __enter__(self) -> Self:
        self._style.__enter__()
        self.figure = Figure(figsize=self._size)
        return self

    def __exit__(self, *_: object) -> None:
        self._style.__exit__(None, None, None)

    def svg(self, title: str, description: str) -> Markup:
        """Return the plot for the page. Call it inside the block."""
        body = io.BytesIO()
        unstamped = {"Date": None, "Creator": None, "Format": None, "Type": None}
        self.figure.savefig(body, format="svg", metadata=unstamped)
        root = ET.fromstring(body.getvalue())  # noqa: S314 - matplotlib wrote it a line above
        for part in root.findall(f"{{{SVG}}}metadata"):
            root.remove(part)
        for parent in root.iter():
            for style in parent.findall(f"{{{SVG}}}style"):
                parent.remove(style)  # it would style the whole page
        for element in root.iter():
            _belong(element, self.name)
        self._describe(root, title, description)
        return Markup(ET.tostring(root, encoding="unicode"))  # noqa: S704 - escaped by ElementTree

    def _describe(self, root: ET.Element, title: str, description: str) -> None:
        for number, (tag, text) in enumerate((("title", title), ("desc", description))):
            element = ET.Element(f"{{{SVG}}}{tag}", {"id": f"{self.name}-{tag}"})
            element.text = text
            root.insert(number, element)
        for attribute in ("width", "height", "version"):
            root.attrib.pop(attribute, None)
        root.attrib |= {
            "class": "plot",
            "role": "img",
            "aria-labelledby": f"{self.name}-title {self.name}-desc",
            "style": f"--natural: {self.width}px",
        }


def _belong(element: ET.Element, name: str) -> None:
    for attribute, value in element.attrib.items():
        if attribute == "id":
            element.set(attribute, f"{name}-{value}")
        elif attribute == f"{{{XLINK}}}href" and value.startswith("#"):
            element.set(attribute, f"#{name}-{value[1:]}")
        elif "url(#" in value:
            element.set(attribute, value.replace("url(#", f"url(#{name}-"))
        elif attribute == "style":
            element.set(attribute, _SHADE.sub(lambda found: f"var(--{VARIABLES[found[0]]})", value))
