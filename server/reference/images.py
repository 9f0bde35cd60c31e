"""Pictures of one coloured shape, or of one colour, for the training tasks."""

from __future__ import annotations

import random
from dataclasses import dataclass

from PIL import Image, ImageDraw

COLORS = {
    "red": (220, 30, 30),
    "green": (30, 170, 50),
    "blue": (30, 60, 220),
    "yellow": (240, 220, 40),
    "orange": (245, 140, 20),
    "purple": (130, 40, 170),
    "black": (12, 12, 12),
    "white": (248, 248, 248),
}
SHAPES = ("circle", "square", "triangle")

_SMALLEST, _LARGEST = 32, 256


@dataclass(frozen=True, slots=True)
class Picture:
    """An image and what can be said of it; a picture that is all one colour has no shape."""

    image: Image.Image
    color: str
    shape: str | None


def draw(rng: random.Random) -> Picture:
    """A picture with random colour, shape, place, size and shades."""
    color = rng.choice(list(COLORS))
    size = _size(rng)
    shape = rng.choice((None, *SHAPES))
    if shape is None:
        return Picture(Image.new("RGB", size, _shade(rng, color)), color, None)
    # Light on dark or dark on light, and never a background that could be taken for the shape's colour.
    ground = rng.choice([each for each in ("black", "white", "white") if each != color])
    image = Image.new("RGB", size, _shade(rng, ground))
    radius = rng.uniform(0.3, 0.48) * min(size)
    x = rng.uniform(radius, size[0] - radius)
    y = rng.uniform(radius, size[1] - radius)
    pen, fill = ImageDraw.Draw(image), _shade(rng, color)
    if shape == "circle":
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=fill)
    elif shape == "square":
        pen.rectangle((x - radius, y - radius, x + radius, y + radius), fill=fill)
    else:
        pen.polygon([(x, y - radius), (x + radius, y + radius), (x - radius, y + radius)], fill=fill)
    return Picture(image, color, shape)


def _size(rng: random.Random) -> tuple[int, int]:
    """Width and height, one at most three times the other."""
    while True:
        width, height = (round(_SMALLEST * (_LARGEST / _SMALLEST) ** rng.random()) for _ in range(2))
        if max(width, height) <= 3 * min(width, height):
            return width, height


def _shade(rng: random.Random, color: str) -> tuple[int, int, int]:
    red, green, blue = (min(255, max(0, value + rng.randint(-14, 14))) for value in COLORS[color])
    return red, green, blue
