"""Mountains and coasts of the sample: fractal height fields in perspective.

After Musgrave, Kolb and Mace, "The synthesis and rendering of eroded fractal terrains", SIGGRAPH 1989.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from data_prep_eda.drawing.scenery import (
    LIGHTS,
    Array,
    Ground,
    Light,
    Rng,
    View,
    Water,
    fractal,
    haze,
    levels,
    lit,
    look,
    mix,
    pick,
    rgb,
    sky,
    step,
    surf,
)
from data_prep_eda.drawing.woodland import WOODS, conifer


@dataclass(frozen=True)
class Range:
    """A kind of mountain range; heights are shares of its tallest peaks.

    Attributes:
        trees: height of the tree line.
        snow: height of the snow line.
        rough: gain of its fractal.
        meadow: how far from the eye the first trees stand, in metres.
        lights: names of the lights it is seen in.
    """

    trees: float
    snow: float
    rough: float = 0.5
    meadow: float = 700
    lights: tuple[str, ...] = ("clear", "clear", "fair", "morning", "sunset", "overcast")


RANGES = {
    "alpine": Range(0.24, 0.38),
    "lake": Range(0.26, 0.45),
    "wooded": Range(0.5, 0.72, meadow=250),
    "bare": Range(-1, 2, rough=0.56, lights=("clear", "fair", "morning", "sunset")),
    "winter": Range(0.08, -0.2, lights=("clear", "fair", "morning", "dusk", "overcast")),
    "ridges": Range(0.45, 0.75, meadow=0, lights=("morning", "sunset", "fair", "dusk", "storm")),
    "meadow": Range(0.28, 0.42, meadow=1500, lights=("clear", "fair", "fair", "morning")),
}
MOUNTAIN_MOTIFS = ("alpine", "lake", "wooded", "bare", "winter", "ridges", "meadow", "alpine")


def mountain(rng: Rng, number: int) -> Array:
    """A range of peaks: alpine, wooded, bare, snowed in, over a lake, or ridge behind ridge."""
    motif = MOUNTAIN_MOTIFS[number % len(MOUNTAIN_MOTIFS)]
    kind, lake, ridges = RANGES[motif], motif == "lake", motif == "ridges"
    light, side, start = LIGHTS[pick(rng, *kind.lights)], pick(rng, -1.0, 1.0), rng.uniform(1300, 2600)
    view = View(rng.uniform(20, 60), rng.uniform(0.64, 0.84), rng.uniform(1.2, 1.6), 70, 18000)
    if ridges:
        view = View(900, rng.uniform(0.4, 0.5), rng.uniform(1.3, 1.8), 900, 40000)
    tall = rng.uniform(0.68, 1.0) * (start + 2500) / view.focal * (0.9 if ridges else 1)
    breadth = rng.uniform(3000, 4500)

    def relief(x: Array, z: Array, pixel: Array) -> Array:
        bend = fractal(rng, x, z, breadth, 3)
        peaks = fractal(rng, x + 250 * bend, z, breadth, 9, kind.rough, pixel, ridged=True)
        swell = fractal(rng, x, z, 2.5 * breadth, 2)
        rise = 0.75 * step(z, 900, 5000) if ridges else step(z + 500 * bend, start, start + 4500)
        floor = fractal(rng, x, z, 400, 7, 0.5, pixel) * np.minimum(z / 60, 14) - (55 - 25 * rise) * lake
        return floor + rise * tall * (1.25 * peaks + 0.16 * swell)

    ground = look(view, relief, water=lake)
    sun_at = rng.random() if light.height < 0.25 and rng.random() < 0.5 else None
    picture = sky(rng, light, view.horizon, sun_at)
    visibility = rng.uniform(7000, 14000) if ridges else rng.uniform(14000, 40000)
    land = haze(lit(ground, light, mountain_cover(rng, ground, kind, tall), side), ground, light, visibility)
    flooded = ground.seen & (ground.height < 0) & lake
    picture = np.where((ground.seen & ~flooded)[..., None], land, picture)
    if lake:
        sheet = Water(rgb(38, 78, 92), rng.uniform(0.1, 0.5)).over(rng, picture, ground, view, light)
        picture = np.where(flooded[..., None], sheet, picture)
    if kind.trees > 0 and not ridges and rng.random() < 0.45:
        picture = foreground_trees(rng, picture, light, "snow" if motif == "winter" else "dark")
    return picture


def mountain_cover(rng: Rng, ground: Ground, kind: Range, tall: float) -> Array:
    """What lies on the range: meadow, trees up to a line, bare rock, snow where it is high and flat enough."""
    x, z, height, flat = ground.x, ground.z, ground.height, ground.normal[..., 1]
    patches = fractal(rng, x, z, 500, 8, 0.62, ground.pixel)
    strata = fractal(rng, height + 0.3 * x + 60 * patches, x * 0.2, 120, 5, 0.6, ground.pixel)
    fine = fractal(rng, x, z + height, 60, 6, 0.8, ground.pixel)
    rock, band = pick(rng, rgb(122, 116, 114), rgb(136, 122, 108), rgb(108, 110, 118)), patches
    if kind.trees < 0:
        rock, band = pick(rng, rgb(176, 130, 98), rgb(164, 142, 116), rgb(150, 112, 92)), strata
    cover = mix(rock, rock * 0.6, step(band, -0.8, 1.4)) * (1 + 0.06 * strata + 0.16 * fine)[..., None]
    if kind.trees > 0:
        season = pick(rng, rgb(92, 116, 54), rgb(112, 118, 62), rgb(140, 122, 70))
        grass = mix(season, rgb(74, 88, 44), step(patches, -1, 1.5)) * (1 + 0.16 * fine)[..., None]
        woods = mix(rgb(34, 56, 34), rgb(60, 82, 42), step(fine, -0.8, 2)) * (1 + 0.2 * fine)[..., None]
        grassy = step(tall * (1.5 * kind.trees + 0.08 * patches) - height, 0, tall * 0.1)
        cover = mix(cover, grass, grassy * step(flat, 0.4, 0.65))
        below = step(tall * (kind.trees + 0.09 * patches) - height, 0, tall * 0.04)
        cover = mix(cover, woods, below * step(fine + patches + 1.5 * step(z, kind.meadow, 3000), 0.3, 0.9))
    line = tall * (kind.snow + rng.uniform(-0.08, 0.08) - 0.1 * (patches + 0.5 * strata))
    snow = step(height - line, 0, tall * 0.08) * step(flat + 0.1 * fine + 0.12 * height / tall, 0.34, 0.54)
    return mix(cover, rgb(238, 242, 250), 0.96 * snow)


def foreground_trees(rng: Rng, picture: Array, light: Light, season: str) -> Array:
    """A few conifers at the side of the view, which give the mountains behind them their scale."""
    canvas, side = Image.fromarray(levels(picture)), pick(rng, 0.02, 0.98)
    for row in np.sort(rng.uniform(0.05, 0.17, int(rng.integers(3, 9)))):
        column = side + (rng.normal(0, 0.16))
        conifer(rng, canvas, WOODS[season], light, column, 1.02 - 2.0 * row + 0.3 * (0.12 - row), row, 0.08)
    return np.asarray(canvas) / 255


@dataclass(frozen=True)
class Site:
    """Where a coast is drawn: `hand` is the side of the land (-1 left, 1 right), `eye` in metres.

    Attributes:
        hand: side of the land.
        eye: height of the eye over the sea.
        shelving: slope of the beach.
    """

    hand: float
    eye: float
    shelving: float


def beach(rng: Rng, site: Site, x: Array, z: Array, pixel: Array) -> Array:
    """Sand that runs obliquely into the distance, with dunes inland."""
    large, small = fractal(rng, x, z, 900, 4, 0.5, pixel), fractal(rng, x, z, 60, 7, 0.55, pixel)
    inland = site.hand * x - rng.uniform(0.25, 0.9) * z + site.eye * rng.uniform(0.3, 2.5)
    inland = inland + 1.5 * small + 40 * large * (z > 200)
    dunes = step(inland, 25, 90) * (10 + 9 * small + 8 * large) * step(z, 15, 60)
    return np.minimum(inland * site.shelving, 2.5) + dunes + 0.04 * small * (inland > 0)


def seafront(rng: Rng, site: Site, x: Array, z: Array, pixel: Array) -> Array:
    """A beach at the feet of the viewer, then the sea, and perhaps islands."""
    large, small = fractal(rng, x, z, 900, 4, 0.5, pixel), fractal(rng, x, z, 60, 7, 0.55, pixel)
    hills = fractal(rng, x, z, 700, 7, 0.5, pixel, ridged=True)
    inland = site.eye * rng.uniform(1.6, 3.0) + 1.5 * small - z
    island = step(z + 600 * large, 2500, 3500) * step(site.hand * x + 300 * large, 0, 900)
    sand = np.minimum(inland * site.shelving, 2) + 0.03 * small * (inland > 0)
    return sand + 300 * island * (0.15 + hills) - 3 * (z > 2400)


def rocks(rng: Rng, site: Site, x: Array, z: Array, pixel: Array) -> Array:
    """Boulders awash, and sea stacks."""
    small, stacks = fractal(rng, x, z, 60, 7, 0.55, pixel), fractal(rng, x, z, 90, 5, 0.6, pixel)
    boulders = fractal(rng, x, z, 22, 6, 0.55, pixel, ridged=True)
    base = 0.07 * (site.hand * x - 0.5 * z + 4 * site.eye + 6 * small)
    stacks = 14 * step(stacks, 0.9, 1.7) * step(z, 50, 120) * step(z, 600, 400)
    return np.clip(base, -12, 3) + 7 * (boulders - 0.4) * step(base, -3, 1) + stacks - 0.5


def bay(rng: Rng, site: Site, x: Array, z: Array, pixel: Array) -> Array:
    """A crescent of sand with hills behind, seen from above."""
    large, small = fractal(rng, x, z, 900, 4, 0.5, pixel), fractal(rng, x, z, 60, 7, 0.55, pixel)
    hills = fractal(rng, x, z, 700, 7, 0.5, pixel, ridged=True)
    ring = np.hypot(x + site.hand * rng.uniform(0, 120), 0.6 * (z - rng.uniform(350, 600)))
    inland = ring - rng.uniform(200, 300) + 60 * large + 10 * small
    inland = inland - 3000 * step(-site.hand * x - 0.1 * z, 60, 300)  # open on the other side
    return np.clip(0.06 * inland, -9, 2.5) + 190 * step(inland, 40, 260) * step(z, 250, 600) * (0.3 + hills)


def cliff(rng: Rng, site: Site, x: Array, z: Array, pixel: Array) -> Array:
    """A coast of cliffs that starts beside the viewer."""
    wander = 200 * fractal(rng, x, z, 900, 4, 0.5, pixel) + 14 * fractal(rng, x, z, 60, 7, 0.55, pixel)
    edge = site.hand * x - rng.uniform(0.05, 0.2) * z - 25 + wander * step(z, 100, 900)
    return _plateau(rng, edge - 3000 * step(z, 1200, 2200), 1.5 * site.eye, x, z, pixel)


def headland(rng: Rng, site: Site, x: Array, z: Array, pixel: Array) -> Array:
    """A cliffy head across the water."""
    wander = 90 * fractal(rng, x, z, 900, 4, 0.5, pixel) + 20 * fractal(rng, x, z, 60, 7, 0.55, pixel)
    edge = np.minimum(site.hand * x + rng.uniform(-0.1, 0.25) * z, z - rng.uniform(450, 700))
    edge = edge + wander * step(z, 0, 500) - 3000 * step(z, 1500, 2600)
    return _plateau(rng, edge, rng.uniform(70, 140), x, z, pixel)


def _plateau(rng: Rng, edge: Array, top: float, x: Array, z: Array, pixel: Array) -> Array:
    """High ground with a steep edge, where `edge`, the distance from the shore line, turns positive."""
    crags = fractal(rng, x, z, 130, 7, 0.6, pixel, ridged=True)
    hills = fractal(rng, x, z, 700, 7, 0.5, pixel, ridged=True)
    wall = step(edge + 14 * crags, 5, 50)
    return np.clip(0.05 * edge, -12, 3) + wall * top * (0.5 + 0.4 * hills + 0.12 * crags)


@dataclass(frozen=True)
class Shore:
    """A kind of coast: its relief, the range of heights it is seen from, and whether it has a sandy beach."""

    relief: Callable[[Rng, Site, Array, Array, Array], Array]
    eye: tuple[float, float]
    sandy: bool


SHORES = {
    "beach": Shore(beach, (4, 9), True),
    "seafront": Shore(seafront, (4, 9), True),
    "rocks": Shore(rocks, (4, 9), False),
    "bay": Shore(bay, (40, 90), True),
    "cliff": Shore(cliff, (30, 70), False),
    "headland": Shore(headland, (10, 25), False),
}
DAYLIGHT = ("clear", "clear", "clear", "fair", "fair", "fair", "overcast", "morning", "storm")
COAST_MOTIFS = ("beach", "cliff", "sunset", "rocks", "beach", "bay", "seafront", "headland")


def coast(rng: Rng, number: int) -> Array:
    """Where sea meets land: beaches, cliffs, rocks, islands, bays, in daylight or at sunset."""
    motif = COAST_MOTIFS[number % len(COAST_MOTIFS)]
    light = LIGHTS[pick(rng, *DAYLIGHT)]
    if motif == "sunset":
        motif = pick(rng, "beach", "seafront", "headland", "rocks")
        light = LIGHTS[pick(rng, "sunset", "sunset", "dusk")]
    kind, side = SHORES[motif], pick(rng, -1.0, 1.0)
    site = Site(pick(rng, -1.0, 1.0), rng.uniform(*kind.eye), rng.uniform(0.025, 0.04))
    view = View(site.eye, rng.uniform(0.3, 0.52), rng.uniform(0.8, 1.1), site.eye * 0.8, 25000)
    ground = look(view, lambda x, z, pixel: kind.relief(rng, site, x, z, pixel), water=True)
    sun_at = rng.uniform(0.15, 0.85) if light.height < 0.35 else None
    picture = sky(rng, light, view.horizon, sun_at)
    land = lit(ground, light, coast_cover(rng, ground, kind.sandy), side)
    land = haze(land, ground, light, rng.uniform(4000, 12000))
    if kind.sandy:  # wet sand shines
        land = mix(land, light.horizon * 0.8, 0.45 * step(ground.height, 0.03 * site.eye, 0))
    flooded = ground.seen & (ground.height < 0)
    picture = np.where((ground.seen & ~flooded)[..., None], land, picture)
    sea = sea_over(rng, picture, ground, view, light, sun_at, site.shelving if kind.sandy else 0.3)
    return np.where(flooded[..., None], sea, picture)


def sea_over(rng: Rng, picture: Array, ground: Ground, view: View, light: Light, sun_at, shelving) -> Array:
    """The sea: lighter where it is shallow, with surf at the shore and whitecaps farther out."""
    deep = pick(rng, rgb(24, 84, 118), rgb(26, 100, 120), rgb(44, 82, 92))
    deep = deep if light.height > 0.2 else rgb(40, 52, 84)
    chop = rng.uniform(0.5, 1.3)
    shallow = np.exp(np.minimum(ground.height, 0) / shelving / 30)
    sheet = Water(mix(deep, rgb(96, 168, 160), 0.55 * shallow), chop)
    sea = haze(sheet.over(rng, picture, ground, view, light, sun_at), ground, light, 14000)
    caps = fractal(rng, ground.x * 0.35, ground.z, 14, 5, 0.7, ground.pixel * 3) + 0.4 * chop
    foam = np.clip(0.9 * surf(rng, ground, shelving) + 0.5 * step(caps, 2, 3), 0, 1)
    return mix(sea, light.shade * 0.75 + light.sun * 0.62, foam)


def coast_cover(rng: Rng, ground: Ground, sandy: bool) -> Array:
    """Sand that darkens where it is wet, cliff faces in layers, grass and scrub on top."""
    x, z, height, flat = ground.x, ground.z, ground.height, ground.normal[..., 1]
    patches = fractal(rng, x, z + height, 80, 7, 0.6, ground.pixel)
    fine = fractal(rng, x, z + height, 6, 7, 0.8, ground.pixel)
    strata = fractal(rng, height + 4 * patches, 0.04 * x, 9, 5, 0.7, ground.pixel)
    sand = pick(rng, rgb(216, 192, 150), rgb(202, 180, 150), rgb(226, 208, 172))
    sand = mix(sand, rgb(168, 144, 112), step(fine + patches, -1, 3)) * (1 + 0.07 * fine)[..., None]
    sand = mix(sand, sand * 0.6, step(height, 0.55, 0.15))
    stone = pick(rng, rgb(122, 112, 102), rgb(158, 122, 92), rgb(196, 186, 168), rgb(92, 88, 86))
    stone = mix(stone, rgb(70, 60, 54), step(strata, -0.8, 1.8))
    stone = mix(stone, rgb(44, 40, 38), 0.7 * step(height, 3, 0.5)) * (1 + 0.15 * fine)[..., None]
    grass = pick(rng, rgb(98, 116, 58), rgb(132, 128, 76), rgb(80, 104, 52))
    grass = mix(grass, rgb(54, 66, 36), step(patches + fine, -0.6, 1.6)) * (1 + 0.14 * fine)[..., None]
    low = mix(sand, stone, step(height, 6, 14)) if sandy else stone
    green = step(flat + 0.06 * patches, 0.62, 0.8) * step(height + 2 * patches, 4, 8)
    return mix(low, grass, green)
