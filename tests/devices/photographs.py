"""Two small photographs from scikit-image's wheel, as PNG files: `python photographs.py FOLDER`."""

from __future__ import annotations

import sys
from pathlib import Path

import skimage
from PIL import Image

CROPS = {"astronaut": (160, 60, 288, 188), "chelsea": (100, 60, 291, 161)}

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for name, box in CROPS.items():
        with Image.open(Path(skimage.__file__).parent / "data" / f"{name}.png") as image:
            image.convert("RGB").crop(box).save(folder / f"{name}.png")
