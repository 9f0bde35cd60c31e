"""Encoded bytes from a stranger to RGB pixels. Everything is bounded by what the header says before it is decoded."""

from __future__ import annotations

import io
import math
import threading
from typing import Any

from PIL import Image, ImageOps, UnidentifiedImageError

# Only these decoders of Pillow run; every further one is more code for a stranger's bytes to meet.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")

# Qwen's image processor refuses what is longer, without saying which image it was.
_LONGEST_SIDES = 200


class NotAnImage(Exception):
    """Why there are no pixels, as the end of a sentence that begins with the image's name."""


class PixelBudget:
    """Pixels that all images of one request may have, before they are made smaller. Used from several threads."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._taken = 0
        self._lock = threading.Lock()

    def take(self, count: int) -> None:
        """Counts an image's pixels. Raises NotAnImage once they are too many."""
        with self._lock:
            self._taken += count
            if self._taken > self._limit:
                raise NotAnImage(f"brings the images of this request over {self._limit} pixels in total")


def decode_pixels(
    encoded: bytes, *, max_pixels: int, shown_pixels: int, budget: PixelBudget, least_pixels: int = 0
) -> Image.Image:
    """The first frame, upright, without transparency, of at most `shown_pixels` and about `least_pixels` or more.


    Nothing but pixels is left: no EXIF, no profile, no palette. Raises NotAnImage.
    """
    try:
        with Image.open(io.BytesIO(encoded), formats=FORMATS) as opened:
            width, height = opened.size
            if width * height > max_pixels:
                raise Image.DecompressionBombError
            if max(width, height) > _LONGEST_SIDES * min(width, height):
                raise NotAnImage(f"is more than {_LONGEST_SIDES} times as long as it is wide")
            budget.take(width * height)
            upright: Any = ImageOps.exif_transpose(opened)
            rgb = _grown(_shrunk(_on_white(upright), shown_pixels), least_pixels)
    except NotAnImage:
        raise
    except Image.DecompressionBombError:  # ours above, or Pillow's own for an even larger one
        raise NotAnImage(f"has more than {max_pixels} pixels") from None
    except UnidentifiedImageError:
        raise NotAnImage(f"is not an image in one of the formats {', '.join(FORMATS)}") from None
    # Pillow's decoders raise many types for broken files, such as OSError, SyntaxError or struct.error.
    except Exception as error:
        raise NotAnImage("could not be decoded: the file is broken") from error
    rgb.info.clear()
    return rgb


def _on_white(image: Image.Image) -> Image.Image:
    """RGB; transparent parts become white, as a viewer shows them on a page."""
    if image.mode == "RGB" and not image.has_transparency_data:
        image.load()
        return image.copy()
    if image.mode.startswith("I;16"):
        # Pillow would cut every value above 255 off, and a grey scan would be a white page.
        return image.convert("I").point(lambda value: value / 256).convert("L").convert("RGB")
    if image.mode in ("I", "F"):
        raise NotAnImage("has 32 bits a sample, for which there is no agreed brightness; send 8 or 16 bits")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _shrunk(image: Image.Image, pixels: int) -> Image.Image:
    """The image in its own proportions with at most `pixels`, as large as it may be."""
    width, height = image.size
    if width * height <= pixels:
        return image
    scale = math.sqrt(pixels / (width * height))
    # Rounding a thin side down makes a strip longer in proportion, which must not take it over the model's bound.
    small_width, small_height = max(1, int(width * scale)), max(1, int(height * scale))
    size = (min(small_width, _LONGEST_SIDES * small_height), min(small_height, _LONGEST_SIDES * small_width))
    return image.resize(size, Image.Resampling.BICUBIC)


def _grown(image: Image.Image, pixels: int) -> Image.Image:
    """The image in its own proportions, made larger if it has less than `pixels`."""
    width, height = image.size
    if width * height >= pixels:
        return image
    scale = math.sqrt(pixels / (width * height))
    # Cut, not rounded: `pixels` may be the most that is allowed as well.
    return image.resize((max(width, int(width * scale)), max(height, int(height * scale))), Image.Resampling.BICUBIC)
