"""Forests of the sample: painted in layers from far to near, or as a wooded slope seen from outside."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from data_prep_eda.drawing.scenery import (
    LIGHTS,
    WORK,
    Array,
    Light,
    Rng,
    fractal,
    grid,
    levels,
    mix,
    pick,
    rgb,
    sky,
    step,
)


@dataclass(frozen=True)
class Wood:
    """A kind of forest.

    Attributes:
        leaves: their colours in shade and in light.
        floor: colours of the ground in shade and in light.
        bark: colour of the stems.
        air: colour of distance.
        fog: how much air each layer adds, 0 to 1.
        thick: how much of the canopy is leaves, 0 to 1.
        sun: how bright its sunny patches are, 0 to 1.
    """

    leaves: tuple[Array, Array]
    floor: tuple[Array, Array]
    bark: Array
    air: Array
    fog: float
    thick: float
    sun: float


# fmt: off
WOODS = {
    "summer": Wood((rgb(18, 42, 14), rgb(150, 184, 62)), (rgb(40, 52, 24), rgb(112, 124, 54)), rgb(88, 74, 58), rgb(196, 216, 150), 0.07, 0.75, 0.9),
    "path": Wood((rgb(26, 50, 18), rgb(172, 198, 80)), (rgb(50, 58, 28), rgb(128, 128, 66)), rgb(96, 84, 70), rgb(220, 228, 176), 0.08, 0.65, 1.0),
    "autumn": Wood((rgb(104, 44, 12), rgb(240, 176, 52)), (rgb(92, 52, 24), rgb(196, 128, 58)), rgb(70, 60, 52), rgb(238, 214, 160), 0.07, 0.6, 0.8),
    "fog": Wood((rgb(40, 52, 42), rgb(110, 124, 88)), (rgb(58, 60, 42), rgb(112, 110, 78)), rgb(58, 54, 50), rgb(200, 206, 206), 0.24, 0.4, 0.0),
    "snow": Wood((rgb(52, 62, 60), rgb(240, 244, 250)), (rgb(176, 188, 208), rgb(244, 246, 252)), rgb(74, 66, 62), rgb(214, 222, 234), 0.1, 0.35, 0.35),
    "birch": Wood((rgb(40, 70, 20), rgb(190, 206, 86)), (rgb(56, 74, 32), rgb(140, 154, 70)), rgb(208, 206, 198), rgb(214, 226, 196), 0.07, 0.5, 0.6),
    "dark": Wood((rgb(10, 24, 14), rgb(74, 106, 48)), (rgb(34, 34, 22), rgb(98, 82, 50)), rgb(72, 54, 44), rgb(120, 140, 120), 0.06, 0.7, 0.7),
}
# fmt: on
MOTIFS = ("summer", "path", "autumn", "fog", "snow", "slope", "dark", "birch", "slope", "autumn")
LAYERS = (14.0, 10.0, 7.0, 5.0, 3.5, 2.4, 1.6)  # distances, in units in which a stem is a tenth thick


def forest(rng: Rng, number: int) -> Array:
    """Among trees in summer, autumn, fog or snow, on a path, or before a wooded slope that fills the view."""
    motif = MOTIFS[number % len(MOTIFS)]
    if motif == "slope":
        return wooded_slope(rng)
    wood, horizon = WOODS[motif], rng.uniform(0.5, 0.68)
    path = rng.uniform(0.35, 0.65) if motif == "path" or rng.random() < 0.3 else None
    picture = forest_floor(rng, backdrop(rng, wood, horizon), wood, horizon, path)
    blotches = fractal(rng, *grid(), 0.14, 5, 0.6)  # sun and moss on the stems
    for distance in LAYERS:
        foot = horizon + 0.42 / distance + 0.02
        for _ in range(int(rng.integers(1, 3) if distance < 3 else rng.integers(3, 8))):
            column, width = rng.uniform(-0.05, 1.05), rng.uniform(0.07, 0.15) / distance
            if path is None or abs(column - path) > 0.3 / distance + 0.04:
                base = foot + rng.uniform(-0.01, 0.03)
                picture = trunk(rng, picture, blotches, wood, column, base, width, motif == "birch")
        picture = foliage(rng, picture, wood, horizon, distance, path)
        behind = step(foot + 0.06 - grid()[1], -0.04, 0.06)  # the air veils this layer, not nearer ground
        picture = mix(picture, wood.air, wood.fog * step(distance, 1.0, 5.0) * behind)
    return shafts(rng, picture, wood)


def backdrop(rng: Rng, wood: Wood, horizon: float) -> Array:
    """The far end of the forest: blurred leaves, brighter towards gaps where the sky comes through."""
    x, y = grid()
    picture = mix(*wood.leaves, step(fractal(rng, x, y, 0.25, 7, 0.75), -1.2, 2.4))
    stems = step(fractal(rng, x, y * 0.04, 0.05, 4, 0.7), 0.4, 1.2)
    picture = mix(picture, wood.bark * 0.6, 0.6 * stems)
    gaps = step(fractal(rng, x, y, 0.3, 8, 0.72) + 1.5 * (horizon - y) - 2.2 * wood.thick, -0.6, 0.7)
    picture = mix(picture, np.minimum(wood.air * 1.15, 1), 0.9 * gaps)
    return mix(picture, wood.air, 0.25 + wood.fog + 0.3 * np.exp(-(((y - horizon) / 0.16) ** 2)))


def forest_floor(rng: Rng, picture: Array, wood: Wood, horizon: float, path: float | None) -> Array:
    """Litter, moss or snow in perspective, a path if there is one, and patches of sun between the shadows."""
    x, y = grid()
    down = np.maximum(y - horizon, 1e-3)
    z, pixel = 0.4 / down, 1.0 / down / WORK
    across = (x - 0.5) * z
    litter = fractal(rng, across, z, 0.5, 7, 0.8, pixel)
    ground = mix(*wood.floor, step(litter + 0.6 * fractal(rng, across, z, 2, 3), -1.8, 2.0))
    if path is not None:
        centre = (path - 0.5) * z + 0.25 * np.sin(z * 0.6 + rng.uniform(0, 6)) + 0.05 * litter
        earth = mix(wood.floor[1], rgb(190, 168, 136), 0.65) * (1 + 0.07 * litter)[..., None]
        ground = mix(ground, earth, 0.9 * step(np.abs(across - centre), 0.34, 0.22))
    dapple = step(fractal(rng, across * 0.6, z, 1.2, 5, 0.55, pixel), 0.1, 0.9)
    ground = ground * (0.72 + wood.sun * (0.68 * dapple - 0.1))[..., None]
    ground = mix(ground, wood.air, np.exp(-down / 0.05) * (0.35 + wood.fog))
    return mix(picture, ground, step(y + 0.012 * fractal(rng, x, y, 0.05, 4) - horizon, 0, 0.015))


def trunk(rng: Rng, picture: Array, blotches: Array, wood: Wood, column, base, width, birch: bool) -> Array:
    """One stem with furrowed bark, lit from a side, flaring at the root; birches are white with dark bands."""
    reach = 1.6 * width + 0.05
    beside = slice(*(np.clip([column - reach, column + reach], 0, 1) * WORK).astype(int))
    x, y = (line[:, beside] for line in grid())
    if not x.size:
        return picture
    lean, bow = np.clip(rng.normal(0, 0.04, 2), -0.07, 0.07) * (1, 0.4)
    wobble = 0.05 * width * fractal(rng, x * 0, y, 0.2, 3)
    centre = column + lean * (base - y) + bow * np.sin(3 * y) + wobble
    girth = width / 2 * (0.72 + 0.28 * y / base + 0.8 * np.exp((y - base) / (0.5 * width)))
    turn = (x - centre) / girth  # -1 and 1 at the edges
    mask = step(np.abs(turn), 1.03, 0.97) * step(y - 0.03 * width * np.sin(40 * x), base + 0.1 * width, base)
    furrows = fractal(rng, np.arcsin(np.clip(turn, -1, 1)) * width, y * 0.22, width * 0.3, 5, 0.75)
    bark = wood.bark * rng.uniform(0.75, 1.1)
    if birch:
        bands = step(fractal(rng, turn * 0.25, y / width, 0.5, 4, 0.7), 0.7, 1.3)
        bark, furrows = mix(bark, rgb(44, 40, 38), 0.85 * bands), furrows * 0.3
    moss = step(2 * (y - base) + 0.2 - blotches[:, beside], 0, 1.2)
    bark = mix(bark, mix(*wood.leaves, 0.45), 0.45 * moss)
    shade = 0.62 + 0.42 * np.clip(turn * pick(rng, -1, 1), -1, 1) - 0.25 * turn**4
    shade = shade + 0.45 * wood.sun * step(blotches[:, beside], 0.5, 1.1)
    picture = picture.copy()
    colour = np.clip(bark * (shade * (1 + 0.3 * furrows))[..., None], 0, 1)
    picture[:, beside] = mix(picture[:, beside], colour, mask)
    return picture


def foliage(rng: Rng, picture: Array, wood: Wood, horizon: float, distance: float, path) -> Array:
    """One layer of leaves, dab by dab from dark to light: boughs overhead and shrubs around the stems."""
    x, y = grid()
    clumps = fractal(rng, x, y, 0.9 / distance**0.6, 5, 0.6)
    folds = fractal(rng, x, y, 0.35 / distance**0.6, 4, 0.6)
    overhead = clumps + 4.5 * wood.thick - 2.2 - 5.5 * y / horizon + 0.16 * distance
    shrubs = clumps - 0.9 + wood.thick - np.abs(y - horizon - 0.02 - 0.22 / distance) * distance * 5
    if path is not None:
        shrubs = shrubs - 3 * np.exp(-(((x - path) / (0.35 / distance + 0.08)) ** 2))
    weight = np.maximum(step(overhead, -0.2, 0.8), 0.9 * step(shrubs, -0.2, 0.8))
    spots = rng.random((int(9000 + 600 * distance), 2))
    column, row = (spots * WORK).astype(int).T
    spots = spots[rng.random(len(spots)) < weight[row, column]]
    column, row = (spots * WORK).astype(int).T
    light = 0.34 + 0.24 * folds[row, column] + rng.normal(0, 0.2, len(spots))
    order = np.argsort(light + 0.5 * folds[row, column])
    colours = levels(mix(*wood.leaves, np.clip(light, 0, 1)) * (0.75 + 0.25 * wood.sun))
    sizes = np.clip(0.03 / distance, 0.0031, 0.0127) * WORK * rng.uniform(0.5, 1.3, len(spots))
    turns = rng.uniform(0, np.pi, len(spots))
    u, v = sizes * np.cos(turns), sizes * np.sin(turns)
    leaf = np.stack([-u, -v, -v / 2, u / 2, u, v, v / 2, -u / 2], axis=1).reshape(-1, 4, 2)
    outlines = (spots * WORK)[:, None] + leaf
    canvas = Image.fromarray(levels(picture))
    pen = ImageDraw.Draw(canvas)
    for k in order:
        pen.polygon(outlines[k].ravel().tolist(), fill=tuple(colours[k].tolist()))
    return np.asarray(canvas) / 255


def shafts(rng: Rng, picture: Array, wood: Wood) -> Array:
    """Sunlight that comes slanting through the canopy."""
    x, y = grid()
    sun_x = rng.uniform(-0.2, 1.2)
    angle = np.arctan2(x - sun_x, y + 0.25)
    rays = step(fractal(rng, angle, x * 0, 0.09, 3, 0.5), -0.2, 1.6) * step(y, 1.0, 0.2)
    glow = np.exp(-np.hypot(x - sun_x, y + 0.1) / 0.45)
    return mix(picture, np.minimum(wood.air * 1.2, 1), wood.sun * (0.28 * rays + 0.3 * glow))


def wooded_slope(rng: Rng) -> Array:
    """A forest seen from outside: tree behind tree up a slope, with little sky or none."""
    season = pick(rng, "summer", "autumn", "dark", "fog")
    wood, light = WOODS[season], LIGHTS[pick(rng, "fair", "overcast", "morning")]
    crest, tilt = rng.uniform(-0.1, 0.22), rng.uniform(-0.2, 0.2)
    conifers = 0.2 if season == "autumn" else rng.uniform(0.3, 0.9)
    evergreen = WOODS["dark"] if season == "autumn" else wood
    x, y = grid()
    behind = mix(wood.leaves[0], light.horizon, 0.25 + 2 * wood.fog)
    picture = mix(sky(rng, light, 0.5, None), behind, step(y - crest - tilt * (x - 0.5), 0.05, 0.09))
    canvas = Image.fromarray(levels(picture))
    for row in np.geomspace(1, 3.2, 26):
        t = (row - 1) / 2.2  # 0 at the crest, 1 at the foot
        veil = (1 - t) * (0.25 + 2 * wood.fog)
        for column in rng.uniform(-0.05, 1.05, int(46 / row)):
            top = crest + t * (0.95 - crest) + tilt * (column - 0.5) * (1 - t) + rng.normal(0, 0.012 * row)
            if rng.random() < conifers:
                conifer(rng, canvas, evergreen, light, column, top, 0.055 * row, veil)
            else:
                crown(rng, canvas, wood, light, column, top, 0.055 * row, veil)
    return np.asarray(canvas) / 255


def conifer(rng: Rng, canvas: Image.Image, wood: Wood, light: Light, column, top, size, veil) -> None:
    """A conifer of drooping boughs, lit from the left; `veil` is the share of air before it."""
    count, (dark, bright) = 90, wood.leaves
    down = np.sort(rng.random(count) ** 0.6)  # from the tip, so that lower boughs cover higher ones
    reach = rng.uniform(-1, 1, count)
    glow = 0.34 - 0.2 * reach + rng.normal(0, 0.12) + rng.normal(0, 0.13, count)
    colours = levels(mix(mix(dark, bright, 0.68 * np.clip(glow, 0, 1)), light.horizon, veil))
    x, y = (column + 0.32 * size * down * reach) * WORK, (top + 2.2 * size * down) * WORK
    dab = 0.1 * size * WORK
    droop = dab * (0.6 + down)
    boughs = np.stack([x, y - dab, x - droop, y + droop, x + droop, y + 0.9 * droop], axis=1)
    pen = ImageDraw.Draw(canvas)
    for k in range(count):
        pen.polygon(boughs[k].tolist(), fill=tuple(colours[k].tolist()))


def crown(rng: Rng, canvas: Image.Image, wood: Wood, light: Light, column, top, size, veil) -> None:
    """The round crown of a broad-leaved tree in clumps of leaves, lit from the upper left."""
    count, down = 320, rng.random(320)
    reach = rng.uniform(-1, 1, count)
    glow = 0.34 - 0.2 * reach - 0.25 * down + rng.normal(0, 0.12) + rng.normal(0, 0.13, count)
    tint = 1 + rng.normal(0, 0.05, 3)  # no two crowns have quite the same colour
    colours = levels(mix(mix(*wood.leaves, np.clip(glow, 0, 1)) * tint, light.horizon, veil))
    half = 0.62 * size * np.sqrt(np.clip(1 - 0.8 * (2 * down - 0.9) ** 2, 0, 1))
    x, y = (column + half * reach) * WORK, (top + 1.3 * size * down) * WORK
    dab = 0.065 * size * WORK * rng.uniform(0.6, 1.5, count)
    clumps = np.stack([x - dab, y - 0.8 * dab, x + dab, y + 0.8 * dab], axis=1)
    pen = ImageDraw.Draw(canvas)
    for k in np.argsort(glow):
        pen.ellipse(clumps[k].tolist(), fill=tuple(colours[k].tolist()))
