"""A small animation as the commands of a farm: `frame N` draws one picture, `join` makes the film.

A string of lights runs along a knot in space. A frame is the mean of several moments, as a camera
with an open shutter sees them; after each the script prints how far it is, for Coalition to read.
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Iterator
from pathlib import Path

from PIL import Image, ImageChops, ImageDraw, ImageFilter

FRAMES = 48
SIZE = (640, 360)
FINE = 2
"""Pictures are drawn this many times too large and then reduced, which smooths the edges."""
MOMENTS = 10
SHUTTER = 0.8
"""How much of the time of a frame the shutter is open."""
LIGHTS = 110
TOP, BOTTOM = (9, 10, 34), (44, 16, 58)
PALETTE = [(255, 209, 102), (255, 122, 89), (214, 64, 159), (106, 76, 220), (67, 190, 229)]

WHITE = (255, 255, 255)

Point = tuple[float, float, float]
Colour = tuple[int, int, int]


def knot(turn: float, spin: float) -> Point:
    """Return where the trefoil knot is at `turn` (0 to 1), once rotated by `spin` radians."""
    angle = turn * math.tau
    ring = 2.0 + math.cos(3 * angle)
    x, y, z = ring * math.cos(2 * angle), ring * math.sin(2 * angle), math.sin(3 * angle)
    x, z = x * math.cos(spin) - z * math.sin(spin), x * math.sin(spin) + z * math.cos(spin)
    return x, y * 0.9, z


def mixed(one: Colour, other: Colour, part: float) -> Colour:
    """Return the colour that is `part` (0 to 1) of the way from one to the other."""
    red, green, blue = (round(a + (b - a) * part) for a, b in zip(one, other, strict=True))
    return red, green, blue


def shade(turn: float, depth: float) -> Colour:
    """Return the colour of the light at `turn`; what is far away is darker."""
    place = turn % 1 * len(PALETTE)
    here = int(place) % len(PALETTE)
    colour = mixed(PALETTE[here], PALETTE[(here + 1) % len(PALETTE)], place - int(place))
    return mixed(BOTTOM, colour, max(0.25, min(1.0, 0.72 + depth / 6)))


def lights(time: float) -> Iterator[tuple[Point, Colour]]:
    """Yield the lights of a moment (0 to 1, after which it starts anew), the farthest first."""
    spin = math.sin(time * math.tau) * 0.6
    places = [((n + 5 * time) / LIGHTS, n / LIGHTS) for n in range(LIGHTS)]
    found = [(knot(turn, spin), shade(hue + time, knot(turn, spin)[2])) for turn, hue in places]
    yield from sorted(found, key=lambda light: light[0][2])


def disc(draw: ImageDraw.ImageDraw, x: float, y: float, radius: float, colour: Colour) -> None:
    """Draw a filled circle."""
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), colour)


def sky(time: float) -> Image.Image:
    """Return the background: dusk, and stars that twinkle."""
    width, height = SIZE[0] * FINE, SIZE[1] * FINE
    dusk = Image.linear_gradient("L").resize((width, height))
    picture = Image.composite(
        Image.new("RGB", (width, height), BOTTOM), Image.new("RGB", (width, height), TOP), dusk
    )
    draw = ImageDraw.Draw(picture)
    stars = random.Random(19211)
    for _ in range(160):
        x, y, phase = stars.random() * width, stars.random() * height, stars.random()
        glow = 0.25 + 0.35 * (1 + math.sin(math.tau * (time + phase))) / 2
        disc(draw, x, y, 1.2, mixed(TOP, WHITE, glow))
    return picture


def bead(draw: ImageDraw.ImageDraw, point: Point, colour: Colour, size: tuple[int, int]) -> None:
    """Draw one light where a picture of `size` shows the point: dark rim, body, gleam."""
    near = 7 / (7 - point[2])
    x = size[0] / 2 + point[0] * near * size[1] / 6.9
    y = size[1] / 2 + point[1] * near * size[1] / 6.9
    radius = 7.5 * FINE * near
    disc(draw, x, y, radius, mixed((0, 0, 0), colour, 0.8))
    disc(draw, x, y, radius * 0.72, colour)
    disc(draw, x - radius * 0.3, y - radius * 0.3, radius * 0.24, mixed(colour, WHITE, 0.75))


def moment(time: float) -> Image.Image:
    """Return the picture at one moment, in its final size."""
    picture = sky(time)
    beads = Image.new("RGB", picture.size)
    draw = ImageDraw.Draw(beads)
    for point, colour in lights(time):
        bead(draw, point, colour, picture.size)
    halo = beads.reduce(4).filter(ImageFilter.GaussianBlur(9)).resize(picture.size)
    lit = ImageChops.add(ImageChops.lighter(picture, beads), halo)
    return lit.resize(SIZE, Image.Resampling.LANCZOS)


def frame(number: int, folder: Path) -> None:
    """Draw frame `number` into the folder, and print the progress on the way."""
    picture = Image.new("RGB", SIZE)
    for done in range(MOMENTS):
        time = (number + SHUTTER * done / MOMENTS) / FRAMES
        picture = Image.blend(picture, moment(time), 1 / (done + 1))
        print(f"PROGRESS:{100 * (done + 1) // MOMENTS}%", flush=True)
    folder.mkdir(parents=True, exist_ok=True)
    picture.save(folder / f"frame-{number:03}.png")


def join(folder: Path, film: Path) -> None:
    """Join all frames of the folder to one moving picture that runs in a loop."""
    pictures = [Image.open(path) for path in sorted(folder.glob("frame-*.png"))]
    first, *others = pictures
    first.save(film, save_all=True, append_images=others, duration=50, loop=0, quality=80, method=4)
    print(f"{film}: {len(pictures)} frames, {film.stat().st_size // 1024} KB", flush=True)


def main() -> None:
    """Read the command line and do what it says."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    actions = parser.add_subparsers(dest="action", required=True)
    one = actions.add_parser("frame", help="draw one frame")
    one.add_argument("number", type=int)
    one.add_argument("folder", type=Path)
    film = actions.add_parser("join", help="join the frames to a film")
    film.add_argument("folder", type=Path)
    film.add_argument("film", type=Path)
    args = parser.parse_args()
    if args.action == "frame":
        frame(args.number, args.folder)
    else:
        join(args.folder, args.film)


if __name__ == "__main__":
    main()
