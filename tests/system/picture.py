"""Compares two pictures of a page as somebody would who has taken off their glasses.

Ids, moments and durations are fresh in every run: a few letters in small type. A block of letters keeps its grey when
its letters change; what moves, grows or loses its colour does not.
"""

from pathlib import Path

import numpy as np
from PIL import Image

BLOCK_PX = 40  # of pictures taken at two dots a pixel
GREY_MAX = 14  # of 255: what other letters make of a block
BLOCKS_MAX = 0.002  # the share that may differ by more; between two runs it is below 0.001


def differing_blocks(one: Path, other: Path) -> float:
    """The share of blocks whose grey differs by more than GREY_MAX; 1 for pictures of another size."""
    with Image.open(one) as a, Image.open(other) as b:
        if a.size != b.size:
            return 1.0
        return float(np.mean(np.abs(_blocks(a) - _blocks(b)) > GREY_MAX))


def _blocks(picture: Image.Image) -> np.ndarray:
    """One grey a block, for each of the three colours: a red bar is not a blue one of the same lightness."""
    size = picture.width // BLOCK_PX, picture.height // BLOCK_PX
    return np.asarray(picture.convert("RGB").resize(size, Image.Resampling.BOX), dtype=np.int16)


def save_small(png: bytes, path: Path) -> None:
    """256 colours are enough for what we draw, and a third of the size."""
    from io import BytesIO

    with Image.open(BytesIO(png)) as picture:
        picture.convert("RGB").quantize(256, dither=Image.Dither.NONE).save(path, optimize=True)
