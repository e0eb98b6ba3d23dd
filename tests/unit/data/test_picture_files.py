"""Pictures of every depth, colour, orientation and container: read as grey, or refused."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rhobeta.data.picture_files import read_picture
from rhobeta.errors import RhobetaError

RAMP = np.arange(0, 240, 20, dtype=np.uint8).reshape(3, 4)
GREY = Image.fromarray(RAMP)
TURNED = 6  # EXIF: shown after a quarter turn clockwise


@pytest.mark.parametrize(
    ("name", "picture", "white"),
    [
        ("a.png", GREY, 255),
        ("a.PNG", Image.fromarray(RAMP.astype(np.uint16) * 257), 65535),
        ("a.tif", Image.fromarray(RAMP.astype(np.int32) * 257), 65535),
        ("a.bmp", GREY.convert("RGB"), 255),
        ("la.png", GREY.convert("LA"), 255),
        ("p.png", GREY.convert("P"), 255),
        ("a.gif", GREY, 255),
        ("a.pgm", GREY, 255),
        ("a.webp", GREY.convert("RGB"), 255),
        ("cmyk.tif", GREY.convert("CMYK"), 255),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_pictures_of_every_depth_are_read_as_grey(
    tmp_path: Path, name: str, picture: Image.Image, white: int
) -> None:
    picture.save(tmp_path / name, lossless=True)
    found = read_picture(tmp_path / name, (3, 4))
    np.testing.assert_allclose(found.pixels, RAMP.reshape(-1) / 255, atol=1e-6)
    assert (found.white, found.coloured) == (white, False)


@pytest.mark.parametrize("ending", ["png", "tif", "jpg", "webp"])
@pytest.mark.parametrize("shape", [(4, 3), (4, 4)])
def test_pictures_are_turned_as_their_exif_says(
    tmp_path: Path, ending: str, shape: tuple[int, int]
) -> None:
    stored = np.zeros(shape[::-1], np.uint8)
    stored[0] = 240
    exif = Image.Exif()
    exif[274] = TURNED
    path = tmp_path / f"a.{ending}"
    Image.fromarray(stored).convert("RGB" if ending == "webp" else "L").save(
        path, exif=exif, quality=100, lossless=True
    )
    found = read_picture(path, shape).pixels.reshape(shape)
    np.testing.assert_allclose(found, np.rot90(stored, -1) / 255, atol=0.02)


def frames(path: Path, count: int) -> Path:
    more = [Image.fromarray(RAMP // (n + 2)) for n in range(count - 1)]
    GREY.save(path, save_all=True, append_images=more)
    return path


@pytest.mark.parametrize("ending", ["gif", "tif", "webp", "png"])
def test_pictures_of_one_frame_are_read_and_of_more_refused(tmp_path: Path, ending: str) -> None:
    read_picture(frames(tmp_path / f"one.{ending}", 1), (3, 4))
    with pytest.raises(RhobetaError, match="holds several pictures; expected one"):
        read_picture(frames(tmp_path / f"two.{ending}", 2), (3, 4))


@pytest.mark.parametrize(
    ("picture", "ending", "reason"),
    [
        (Image.new("L", (5, 4)), "png", "has 4 x 5 pixels; the model expects 3 x 4"),
        (GREY.rotate(90, expand=True), "png", "has 4 x 3 pixels"),
        (Image.new("RGBA", (4, 3), (0, 0, 0, 9)), "png", "has transparent pixels"),
        (Image.fromarray(RAMP.astype(np.int32) * 500), "tif", "numbers of more than 16 bits"),
        (Image.fromarray(RAMP.astype(np.float32)), "tif", "numbers of more than 16 bits"),
    ],
    ids=["size", "upright", "transparent", "deep", "floats"],
)
def test_pictures_that_have_no_grey_levels_of_the_size_are_refused(
    tmp_path: Path, picture: Image.Image, ending: str, reason: str
) -> None:
    picture.save(tmp_path / f"a.{ending}")
    with pytest.raises(RhobetaError, match=reason):
        read_picture(tmp_path / f"a.{ending}", (3, 4))
