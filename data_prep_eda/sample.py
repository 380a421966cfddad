"""Draws the embedded sample: small pictures of coasts, forests and mountains, made by code alone.

The sample stands in for photographs wherever those are not at hand, so that every notebook runs offline.
Coasts and mountains are fractal height fields seen in perspective (Musgrave et al., "The synthesis and
rendering of eroded fractal terrains", SIGGRAPH 1989); forests are painted in layers from far to near.

`python -m data_prep_eda.sample --out DIR --count 40 --seed 20` draws it anew. Next: `sample/README.md`.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from scipy import ndimage

SIZE = 256  # edge of a picture, in pixels: that of the study's photographs
WORK = 3 * SIZE // 2  # drawn larger and scaled down, which smooths every edge
COUNT, SEED, QUALITY = 40, 20, 85  # those of the committed sample

Array = np.ndarray
Rng = np.random.Generator


# Tools


def mix(a: Array, b: Array, t: Array | float) -> Array:
    """Blends colours `a` and `b`; `t` is the share of `b`, one per pixel or one for all."""
    t = np.asarray(t)[..., None] if np.ndim(t) else t
    return a * (1 - t) + b * t


def step(value: Array, low: float, high: float) -> Array:
    """Rises smoothly from 0 at `low` to 1 at `high`."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def rgb(*levels: int) -> Array:
    """A colour given as levels 0 to 255."""
    return np.array(levels) / 255


def pick(rng: Rng, *options):
    """One of the options."""
    return options[int(rng.integers(len(options)))]


def grid() -> tuple[Array, Array]:
    """Columns and rows of the picture, both from 0 to 1."""
    line = (np.arange(WORK) + 0.5) / WORK
    return np.broadcast_to(line, (WORK, WORK)), np.broadcast_to(line[:, None], (WORK, WORK))


def fractal(rng: Rng, x, z, wavelength, octaves=6, gain=0.5, pixel=0.0, ridged=False) -> Array:
    """Multi-octave noise at the points (x, z), about normal with mean 0 and deviation 1.

    Args:
        wavelength: of the coarsest octave, in the units of `x` and `z`.
        gain: amplitude of an octave relative to the one before; higher is rougher.
        pixel: size of a pixel at each point; octaves finer than that are left out, they would only flicker.
        ridged: folds the noise into sharp crests (Musgrave's ridged multifractal), about 0 to 1.
    """
    total, weight, amplitude, power = np.zeros(np.shape(x)), np.ones(np.shape(x)), 1.0, 0.0
    for _ in range(octaves):
        angle, shift, lattice = rng.uniform(0, np.pi), rng.uniform(0, 64, 2), rng.standard_normal((64, 64))
        visible = step(wavelength / np.maximum(pixel, 1e-9), 1.0, 3.0) * np.ones_like(total)
        at = visible > 0
        a = (np.cos(angle) * x[at] + np.sin(angle) * z[at]) / wavelength + shift[0]
        b = (np.cos(angle) * z[at] - np.sin(angle) * x[at]) / wavelength + shift[1]
        value = ndimage.map_coordinates(lattice, [a, b], order=2, mode="grid-wrap") / 0.7
        if ridged:
            value = np.clip(1.05 - 0.6 * np.sqrt(value**2 + 0.01), 0, 1) ** 1.5 * weight[at]
            weight[at] = np.clip(2 * value, 0, 1)
        total[at] += amplitude * value * visible[at]
        power += amplitude if ridged else amplitude**2
        amplitude, wavelength = amplitude * gain, wavelength * 0.48
    return total / (power if ridged else np.sqrt(power))


# Light and sky


@dataclass(frozen=True)
class Light:
    """The light of a picture: colours of the sky, of the sun and of the shade.

    Attributes:
        sun: colour of direct light; above 1 where it outshines the sky.
        height: sine of the sun's elevation.
        cover: how much of the sky is cloud, as a threshold on the noise: lower is more.
    """

    zenith: Array
    horizon: Array
    sun: Array
    shade: Array
    cloud: Array
    height: float
    cover: float


LIGHTS = {
    "clear": Light(rgb(48, 104, 178), rgb(176, 208, 232), np.array([1.05, 1, 0.9]), np.array([0.3, 0.36, 0.46]), rgb(250, 250, 250), 0.6, 1.0),
    "fair": Light(rgb(80, 132, 192), rgb(200, 218, 230), np.array([0.95, 0.92, 0.85]), np.array([0.36, 0.4, 0.46]), rgb(246, 244, 240), 0.55, 0.1),
    "morning": Light(rgb(112, 150, 192), rgb(242, 218, 190), np.array([1.1, 0.9, 0.7]), np.array([0.32, 0.36, 0.46]), rgb(250, 226, 206), 0.3, 0.6),
    "sunset": Light(rgb(66, 78, 130), rgb(250, 166, 96), np.array([1.15, 0.66, 0.38]), np.array([0.32, 0.28, 0.38]), rgb(226, 150, 128), 0.16, 0.4),
    "dusk": Light(rgb(48, 58, 98), rgb(206, 152, 150), np.array([0.6, 0.42, 0.42]), np.array([0.3, 0.31, 0.42]), rgb(120, 104, 132), 0.2, 0.3),
    "overcast": Light(rgb(150, 158, 168), rgb(208, 212, 214), np.array([0.3, 0.3, 0.3]), np.array([0.62, 0.64, 0.67]), rgb(190, 194, 198), 0.8, -0.6),
    "storm": Light(rgb(84, 94, 108), rgb(178, 184, 186), np.array([0.32, 0.32, 0.32]), np.array([0.45, 0.47, 0.51]), rgb(120, 126, 134), 0.7, -0.8),
}  # fmt: skip


def sky(rng: Rng, light: Light, horizon: float, sun_at: float | None) -> Array:
    """The sky down to the horizon, with clouds on a plane overhead and, if `sun_at` is a column, the sun."""
    x, y = grid()
    up = np.clip(horizon - y, 0, 1)
    picture = mix(light.horizon, light.zenith, step(up, -0.1, 0.75))
    far = 1 / (up + 0.06)
    clouds = fractal(rng, (x - 0.5) * far * 1.3, far, rng.uniform(1.5, 4), 7, 0.55)
    density = step(clouds, light.cover, light.cover + 1.3) * step(up, 0.0, 0.12)
    lining = mix(
        light.cloud, mix(light.zenith, light.cloud, 0.45), step(clouds, light.cover + 0.8, light.cover + 2.8)
    )
    picture = mix(picture, lining, 0.92 * density)
    if sun_at is not None:
        distance = np.hypot(x - sun_at, y - (horizon - 0.35 * light.height - 0.02))
        glow = np.exp(-distance / 0.16)[..., None] * light.sun * 0.45
        disc = step(-distance, -0.03, -0.02)[..., None] * (1 - 0.6 * density[..., None])
        picture = picture + glow + disc
    return picture


# Terrain in perspective


@dataclass(frozen=True)
class View:
    """A camera that looks level over a height field; lengths in metres.

    Attributes:
        eye: height above zero, which is the level of any water.
        horizon: row of the horizon, 0 at the top to 1 at the bottom.
        focal: focal length in picture widths.
    """

    eye: float
    horizon: float
    focal: float
    near: float
    far: float


@dataclass(frozen=True)
class Ground:
    """What each pixel `[WORK, WORK]` sees of a height field; undefined where `seen` is false."""

    seen: Array
    x: Array
    z: Array
    height: Array  # below zero under water, though the eye meets the surface
    normal: Array  # [WORK, WORK, 3]: to the right, up, away
    hollow: Array  # how far it lies below its surroundings: crevices and gullies get less of the sky
    pixel: Array  # size of a pixel, across


def look(view: View, relief: Callable[[Array, Array, Array], Array], water: bool) -> Ground:
    """Finds for every pixel the point of the height field that it shows.

    Along each column, the height seen so far only rises with distance; a pixel shows the first point that
    reaches its line of sight.

    Args:
        relief: height at `(x, z, pixel)`, in metres.
        water: whether everything below zero is covered by it.
    """
    samples = 700
    away = np.geomspace(view.near, view.far, samples)
    across = (np.arange(WORK) + 0.5 - WORK / 2) / WORK / view.focal
    z = np.broadcast_to(away[:, None], (samples, WORK))
    stride = np.log(view.far / view.near) / samples  # between samples, relative to their distance
    x, pixel = z * across, z * max(0.6 * stride, 1 / WORK / view.focal)
    height = relief(x, z, pixel)
    surface = np.maximum(height, 0) if water else height
    close = z[:, 0] < 4 * view.near
    eye = max(view.eye, float((surface + 0.12 * z)[close].max()))  # climbs out of the ground
    elevation = np.maximum.accumulate((surface - eye) / z, axis=0)
    lines = (view.horizon - (np.arange(WORK)[::-1] + 0.5) / WORK) / view.focal  # from the bottom row upwards
    hit = np.empty((WORK, WORK))
    for column in range(WORK):
        hit[::-1, column] = np.interp(
            lines, elevation[:, column] + np.arange(samples) * 1e-9, np.arange(samples)
        )
    seen = lines[::-1, None] < elevation[-1]
    slope_x = np.gradient(surface, axis=1) / np.gradient(x, axis=1)
    slope_z = np.gradient(surface, axis=0) / np.gradient(z, axis=0) - across * slope_x
    hollow = (ndimage.gaussian_filter(surface, 9) - surface) / (12 * pixel)
    columns = np.broadcast_to(np.arange(WORK), (WORK, WORK))

    def at(field: Array) -> Array:
        return ndimage.map_coordinates(field, [hit, columns], order=1, mode="nearest")

    normal = np.stack([-at(slope_x), np.ones((WORK, WORK)), -at(slope_z)], axis=-1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    return Ground(seen, at(x), at(z), at(height), normal, at(hollow), at(pixel))


def lit(ground: Ground, light: Light, albedo: Array, side: float) -> Array:
    """The ground's colour in sunlight from one `side` (-1 left, 1 right) and in the light of the sky."""
    direction = np.array([side, light.height * 1.1 + 0.15, -0.45])
    direct = np.clip(ground.normal @ (direction / np.linalg.norm(direction)), 0, 1)
    sheltered = np.clip(1 - 0.35 * np.clip(ground.hollow, 0, 2), 0.35, 1)
    return albedo * (light.shade * 1.1 + 1.15 * light.sun * direct[..., None]) * sheltered[..., None]


def water(
    rng: Rng, ground: Ground, view: View, light: Light, picture: Array, chop: float, sun_at, deep
) -> Array:
    """Water over `picture`: mirrors what stands above the horizon, darkened and broken by waves."""
    _, y = grid()
    waves = fractal(
        rng,
        ground.x * 0.3,
        ground.z,
        9 * chop + 0.4,
        6,
        0.65,
        ground.pixel * 2 + ground.z**2 / WORK / view.eye / 6,
    )
    streaks = fractal(rng, ground.x / ground.z * 3, np.log(ground.z) * 12, 2.5, 5, 0.6)
    ripple = 0.7 * waves + 0.5 * streaks
    rows = (2 * view.horizon - y + 0.02 * chop * np.abs(ripple)) * WORK - 0.5
    columns = np.broadcast_to(np.arange(WORK), (WORK, WORK)) + 4 * chop * ripple
    mirrored = np.stack(
        [
            ndimage.map_coordinates(picture[..., c], [rows, columns], order=1, mode="nearest")
            for c in range(3)
        ],
        -1,
    )
    grazing = np.exp(-(y - view.horizon) * (2.0 + 2 * chop))
    sheen = np.clip(0.12 + 0.68 * grazing + 0.09 * chop * ripple * (0.5 + (1 - grazing)), 0.05, 0.95)
    surface = mix(deep * (light.shade + 0.55 * light.sun), mirrored, sheen) * (
        1 + 0.05 * chop * ripple[..., None]
    )
    if sun_at is not None:
        x, _ = grid()
        road = np.exp(-(((x - sun_at) / (0.05 + 0.22 * (y - view.horizon))) ** 2))
        surface = surface + (road * step(ripple, 0.1, 1.3))[..., None] * light.sun * 0.5
    return surface


def surf(rng: Rng, ground: Ground, shelving: float) -> Array:
    """Foam, 0 to 1: breakers along the depth contours and a lace of foam at the edge of the water."""
    depth = -ground.height / shelving
    wander = fractal(rng, ground.x, ground.z, 25, 4, 0.5)
    lace = fractal(rng, ground.x * 0.6, ground.z, 3.5, 5, 0.75, ground.pixel)
    breakers = (
        step(np.sin(depth / 4.5 + 1.1 * wander), 0.45, 0.95)
        * step(lace + wander, -0.6, 0.6)
        * np.exp(-depth / 28)
    )
    edge = step(-depth, -5, 0) * step(lace, -0.9, 0.2)
    return np.clip(1.2 * breakers + edge, 0, 1) * (depth > 0)


def haze(picture: Array, ground: Ground, light: Light, visibility: float) -> Array:
    """Aerial perspective: the farther, the more like the sky at the horizon."""
    return mix(
        picture, mix(light.horizon, light.zenith, 0.22), (1 - np.exp(-ground.z / visibility)) * ground.seen
    )


# Mountains


def mountain(rng: Rng, number: int) -> Array:
    """A range of peaks: alpine, wooded, bare, snowed in, over a lake, or ridge behind ridge."""
    kind = ("alpine", "lake", "wooded", "bare", "winter", "ridges", "meadow", "alpine")[number % 8]
    light = LIGHTS[
        pick(rng, "clear", "fair", "morning", "sunset", "dusk" if kind == "winter" else "clear", "overcast")
    ]
    side, start = pick(rng, -1.0, 1.0), rng.uniform(1500, 3000)
    view = View(rng.uniform(20, 60), rng.uniform(0.62, 0.8), rng.uniform(1.2, 1.7), 60, 30000)
    if kind == "ridges":
        view = View(900, rng.uniform(0.4, 0.5), rng.uniform(1.3, 1.8), 900, 60000)
    tall = rng.uniform(0.75, 1.1) * (start + 2500) / view.focal * (0.8 if kind == "ridges" else 1)
    breadth, rough = rng.uniform(2500, 4500), 0.6 if kind == "bare" else rng.uniform(0.46, 0.55)

    def relief(x: Array, z: Array, pixel: Array) -> Array:
        bend = fractal(rng, x, z, breadth, 3)
        peaks = fractal(rng, x + 250 * bend, z, breadth, 9, rough, pixel, ridged=True)
        range_ = fractal(rng, x, z, 2.5 * breadth, 2)
        rise = step(z + 500 * bend, start, start + 5000) if kind != "ridges" else 0.75 * step(z, 900, 5000)
        floor = fractal(rng, x, z, 400, 7, 0.5, pixel) * np.minimum(z / 60, 14) - (
            30 if kind == "lake" else 0
        )
        trees = (
            np.abs(fractal(rng, x, z, 22, 3, 0.7, pixel)) * 7 * step(z, 300, 900) if kind == "wooded" else 0
        )
        return (
            floor
            + trees
            + rise * tall * (peaks * 1.25 + 0.16 * range_)
            - (1 - rise) * (25 if kind == "lake" else 0)
        )

    ground = look(view, relief, water=kind == "lake")
    sun_at = rng.random() if light.height < 0.25 and rng.random() < 0.4 else None
    picture = sky(rng, light, view.horizon, sun_at)
    albedo = mountain_cover(rng, ground, kind, tall)
    land = haze(
        lit(ground, light, albedo, side),
        ground,
        light,
        rng.uniform(9000, 18000) if kind == "ridges" else rng.uniform(18000, 50000),
    )
    flooded = ground.seen & (ground.height < 0) & (kind == "lake")
    picture = np.where((ground.seen & ~flooded)[..., None], land, picture)
    if kind == "lake":
        lake = water(rng, ground, view, light, picture, rng.uniform(0.1, 0.5), None, rgb(38, 78, 92))
        picture = np.where(flooded[..., None], lake, picture)
    return picture


def mountain_cover(rng: Rng, ground: Ground, kind: str, tall: float) -> Array:
    """What grows and lies on the range: meadow, trees up to a line, bare rock, snow where it is high and flat."""
    x, z, height, flat = ground.x, ground.z, ground.height, ground.normal[..., 1]
    patches = fractal(rng, x, z, 500, 8, 0.62, ground.pixel)
    strata = fractal(rng, height + 0.3 * x + 60 * patches, x * 0.2, 120, 5, 0.6, ground.pixel)
    fine = fractal(rng, x, z + height, 60, 6, 0.8, ground.pixel)
    stone = mix(
        pick(rng, rgb(112, 106, 104), rgb(128, 112, 98), rgb(98, 100, 108)),
        rgb(72, 66, 64),
        step(patches, -1, 1.5),
    )
    if kind == "bare":
        stone = mix(
            pick(rng, rgb(170, 118, 84), rgb(158, 132, 104)), rgb(110, 72, 56), step(strata, -0.6, 1.2)
        )
    cover = stone * (1 + (0.14 if kind == "bare" else 0.05) * strata + 0.14 * fine)[..., None]
    season = pick(rng, rgb(92, 116, 54), rgb(112, 118, 62), rgb(140, 122, 70))
    grass = mix(season, rgb(74, 88, 44), step(patches, -1, 1.5)) * (1 + 0.16 * fine)[..., None]
    woods = mix(rgb(34, 56, 34), rgb(60, 82, 42), step(fine, -0.8, 2)) * (1 + 0.2 * fine)[..., None]
    tree_line = tall * {"wooded": 0.52, "bare": 0.0, "winter": 0.1, "ridges": 0.45}.get(kind, 0.26)
    if kind != "bare":
        cover = mix(
            cover,
            grass,
            step(tree_line * 1.5 + tall * 0.08 * patches - height, 0, tall * 0.1) * step(flat, 0.5, 0.75),
        )
        wooded = step(tree_line + tall * 0.09 * patches - height, 0, tall * 0.04) * step(
            fine + 3 * (z > 900) - 1 + patches, -0.2, 0.4
        )
        cover = mix(cover, woods, wooded * (1 if kind != "meadow" else 0.8 * (z > 1500)))
    snow_line = tall * {"winter": -0.2, "bare": 2.0, "wooded": 0.75, "ridges": 0.7}.get(
        kind, rng.uniform(0.3, 0.55)
    )
    snow = step(height + tall * 0.1 * (patches + 0.5 * strata) - snow_line, 0, tall * 0.08) * step(
        flat + 0.08 * fine, 0.42, 0.62
    )
    return mix(cover, rgb(238, 242, 250), snow * 0.96)


# Coasts


def coast(rng: Rng, number: int) -> Array:
    """Where sea meets land: beaches, cliffs, rocks, islands, an open sea at sunset."""
    kind = ("beach", "cliff", "sunset", "rocks", "beach", "bay", "surf", "headland")[number % 8]
    light = LIGHTS[pick(rng, "clear", "fair", "fair", "overcast", "morning", "storm", "clear")]
    if kind == "sunset":
        kind, light = (
            pick(rng, "beach", "surf", "headland", "rocks"),
            LIGHTS[pick(rng, "sunset", "sunset", "dusk")],
        )
    side, hand = pick(rng, -1.0, 1.0), pick(rng, -1.0, 1.0)
    eye = {"cliff": rng.uniform(30, 70), "bay": rng.uniform(40, 90), "headland": rng.uniform(10, 25)}.get(
        kind, rng.uniform(4, 9)
    )
    view = View(eye, rng.uniform(0.3, 0.5), rng.uniform(0.8, 1.1), eye * 0.8, 25000)
    shelving = rng.uniform(0.025, 0.04)
    albedo_seed, turn = rng.spawn(2)

    def relief(x: Array, z: Array, pixel: Array) -> Array:
        return shore(turn, kind, hand, eye, shelving, x, z, pixel)

    ground = look(view, relief, water=True)
    sun_at = rng.uniform(0.15, 0.85) if light.height < 0.35 else None
    picture = sky(rng, light, view.horizon, sun_at)
    albedo = coast_cover(albedo_seed, ground, kind)
    land = haze(lit(ground, light, albedo, side), ground, light, rng.uniform(4000, 12000))
    wet = step(-ground.height, -0.02 * eye, 0) * (kind in ("beach", "surf"))
    land = mix(land, light.horizon * 0.75, 0.4 * wet)
    flooded = ground.seen & (ground.height < 0)
    picture = np.where((ground.seen & ~flooded)[..., None], land, picture)
    deep = (
        pick(rng, rgb(24, 84, 118), rgb(26, 100, 120), rgb(44, 82, 92))
        if light.height > 0.2
        else rgb(40, 52, 84)
    )
    chop = rng.uniform(0.5, 1.3)
    shallow = np.exp(ground.height / shelving / 30)
    sea = water(rng, ground, view, light, picture, chop, sun_at, mix(deep, rgb(96, 168, 160), 0.55 * shallow))
    sea = haze(sea, ground, light, 14000)
    white = light.shade * 0.75 + light.sun * 0.62
    foam = surf(rng, ground, 1.0 if kind in ("cliff", "rocks", "headland") else shelving)
    caps = step(fractal(rng, ground.x * 0.35, ground.z, 14, 5, 0.7, ground.pixel * 3), 2.0 - 0.4 * chop, 3.0)
    sea = mix(sea, white, np.clip(0.9 * foam + 0.5 * caps, 0, 1))
    return np.where(flooded[..., None], sea, picture)


def shore(rng: Rng, kind: str, hand: float, eye: float, shelving: float, x, z, pixel) -> Array:
    """Height of the coast, in metres over the sea: an oblique shore line that is a beach, a cliff or rocks."""
    large = fractal(rng, x, z, 900, 4, 0.5, pixel)
    small = fractal(rng, x, z, 60, 7, 0.55, pixel)
    crags = fractal(rng, x, z, 130, 7, 0.6, pixel, ridged=True)
    hills = fractal(rng, x, z, 700, 7, 0.5, pixel, ridged=True)
    lean = rng.uniform(0.25, 0.9)
    inland = hand * x - lean * z
    if kind == "beach":
        inland = inland + eye * rng.uniform(1, 4) + 1.5 * small + np.where(z > 200, 40, 0) * large
        dune = step(inland, 25, 90) * (10 + 9 * small + 8 * large) * step(z, 15, 60)
        return np.minimum(inland * shelving, 2.5) + dune + 0.04 * small * (inland > 0)
    if kind == "surf":
        inland = -z + eye * rng.uniform(2.2, 3.2) + 1.5 * small
        far_land = (
            step(z + 600 * large, 2500, 3500) * step(hand * x + 300 * large, 0, 900) * 300 * (0.15 + hills)
        )
        return np.minimum(inland * shelving, 2) + 0.03 * small * (inland > 0) + far_land - 3 * (z > 2400)
    if kind == "rocks":
        boulders = fractal(rng, x, z, 22, 6, 0.55, pixel, ridged=True)
        base = (hand * x - 0.5 * z + eye * 4 + 6 * small) * 0.05
        stacks = (
            step(fractal(rng, x, z, 90, 5, 0.6, pixel) - 0.9, 0, 0.8)
            * 14
            * step(z, 50, 120)
            * step(-z, -600, -400)
        )
        return np.clip(base, -4, 3) + 7 * (boulders - 0.4) * step(base, -3, 1) + stacks - 0.5
    if kind == "bay":
        ring = (
            np.hypot(x + hand * rng.uniform(0, 120), 0.6 * (z - rng.uniform(350, 600)))
            - rng.uniform(200, 300)
            + 60 * large
            + 10 * small
        )
        ring = ring - 3000 * step(-hand * x - 0.1 * z, 60, 300)
        return np.clip(ring * 0.06, -9, 2.5) + step(ring, 40, 260) * step(z, 250, 600) * 190 * (0.3 + hills)
    if kind == "cliff":
        edge = hand * x - rng.uniform(0.05, 0.2) * z - 20 + (200 * large + 14 * small) * step(z, 0, 600)
        edge = edge - 3000 * step(z, 1200, 2200)
    else:
        edge = np.minimum(hand * x + rng.uniform(0.0, 0.2) * z, z - 450) + (90 * large + 20 * small) * step(
            z, 0, 500
        )
        edge = edge - 3000 * step(z, 1500, 2600)
    top = {"cliff": 1.5 * eye, "headland": 130}[kind]
    return np.clip(edge * 0.05, -12, 3) + step(edge + 14 * crags, 5, 50) * top * (
        0.5 + 0.4 * hills + 0.12 * crags
    )


def coast_cover(rng: Rng, ground: Ground, kind: str) -> Array:
    """Sand that darkens where it is wet, grey or red cliff faces, grass and scrub on top."""
    x, z, height, flat = ground.x, ground.z, ground.height, ground.normal[..., 1]
    patches = fractal(rng, x, z + height, 80, 7, 0.6, ground.pixel)
    fine = fractal(rng, x, z + height, 6, 6, 0.75, ground.pixel)
    strata = fractal(rng, height + 4 * patches, 0.04 * x, 9, 5, 0.7, ground.pixel)
    sand = mix(
        pick(rng, rgb(216, 192, 150), rgb(202, 180, 150), rgb(226, 208, 172)),
        rgb(176, 150, 116),
        step(fine + patches, -1, 3),
    )
    sand = mix(sand, sand * 0.62, step(-height, -0.5, -0.1))
    stone = mix(
        pick(rng, rgb(122, 112, 102), rgb(158, 122, 92), rgb(196, 186, 168), rgb(92, 88, 86)),
        rgb(70, 60, 54),
        step(strata, -0.8, 1.8),
    )
    stone = mix(stone, rgb(44, 40, 38), 0.7 * step(-height, -3, -0.5)) * (1 + 0.14 * fine)[..., None]
    grass = mix(
        pick(rng, rgb(98, 116, 58), rgb(132, 128, 76), rgb(80, 104, 52)),
        rgb(54, 66, 36),
        step(patches + fine, -0.6, 1.6),
    )
    grass = grass * (1 + 0.14 * fine)[..., None]
    green = step(flat + 0.06 * patches, 0.72, 0.86) * step(height, 4, 9)
    if kind in ("beach", "surf"):
        return mix(
            mix(sand, grass, step(height + 2 * patches, 4, 7)), stone, step(height, 30, 40) * (1 - green)
        )
    base = sand if kind == "bay" else stone
    return mix(mix(base, stone, step(height, 1.5, 4)), grass, green)


# Forests


@dataclass(frozen=True)
class Wood:
    """A kind of forest: colours from dark to light of its leaves, its ground, its bark, and its air."""

    leaves: tuple[Array, Array]
    floor: tuple[Array, Array]
    bark: Array
    air: Array
    fog: float  # share of air that each layer adds
    thick: float  # how much of the canopy is leaves, 0 to 1
    sun: float


WOODS = {
    "summer": Wood((rgb(18, 42, 14), rgb(150, 184, 62)), (rgb(40, 52, 24), rgb(112, 124, 54)), rgb(88, 74, 58), rgb(196, 216, 150), 0.07, 0.75, 0.9),
    "path": Wood((rgb(26, 50, 18), rgb(172, 198, 80)), (rgb(50, 58, 28), rgb(128, 128, 66)), rgb(96, 84, 70), rgb(220, 228, 176), 0.08, 0.65, 1.0),
    "autumn": Wood((rgb(104, 44, 12), rgb(240, 176, 52)), (rgb(92, 52, 24), rgb(196, 128, 58)), rgb(70, 60, 52), rgb(238, 214, 160), 0.07, 0.6, 0.8),
    "fog": Wood((rgb(40, 52, 42), rgb(110, 124, 88)), (rgb(58, 60, 42), rgb(112, 110, 78)), rgb(58, 54, 50), rgb(200, 206, 206), 0.24, 0.4, 0.0),
    "snow": Wood((rgb(52, 62, 60), rgb(240, 244, 250)), (rgb(176, 188, 208), rgb(244, 246, 252)), rgb(74, 66, 62), rgb(214, 222, 234), 0.1, 0.35, 0.35),
    "birch": Wood((rgb(40, 70, 20), rgb(190, 206, 86)), (rgb(56, 74, 32), rgb(140, 154, 70)), rgb(208, 206, 198), rgb(214, 226, 196), 0.07, 0.5, 0.6),
    "dark": Wood((rgb(10, 24, 14), rgb(74, 106, 48)), (rgb(34, 34, 22), rgb(98, 82, 50)), rgb(72, 54, 44), rgb(120, 140, 120), 0.06, 0.7, 0.7),
}  # fmt: skip


def forest(rng: Rng, number: int) -> Array:
    """Among trees in summer, autumn, fog or snow, on a path, or before a wooded slope that fills the view."""
    kind = ("summer", "path", "autumn", "fog", "snow", "slope", "dark", "birch", "slope", "autumn")[
        number % 10
    ]
    if kind == "slope":
        return wooded_slope(rng)
    wood, horizon = WOODS[kind], rng.uniform(0.5, 0.68)
    path = rng.uniform(0.35, 0.65) if kind == "path" or rng.random() < 0.3 else None
    picture = backdrop(rng, wood, horizon)
    blotches = fractal(rng, *grid(), 0.14, 5, 0.6)
    picture = forest_floor(rng, picture, wood, horizon, path)
    for distance in (14.0, 10.0, 7.0, 5.0, 3.5, 2.4, 1.6):
        base = horizon + 0.42 / distance + 0.02
        for _ in range(int(rng.integers(1, 3) if distance < 3 else rng.integers(3, 8))):
            column = rng.uniform(-0.05, 1.05)
            if path is None or abs(column - path) > 0.3 / distance + 0.04:
                width = rng.uniform(0.07, 0.15) / distance
                picture = trunk(
                    rng,
                    picture,
                    blotches,
                    wood,
                    column,
                    base + rng.uniform(-0.01, 0.03),
                    width,
                    kind == "birch",
                )
        picture = foliage(rng, picture, wood, horizon, base, distance, path)
        farther = step(
            base + 0.06 - grid()[1], -0.04, 0.06
        )  # the air before this layer, not before nearer ground
        picture = mix(picture, wood.air, wood.fog * step(distance, 1.0, 5.0) * farther)
    return shafts(rng, picture, wood)


def backdrop(rng: Rng, wood: Wood, horizon: float) -> Array:
    """The far end of the forest: blurred leaves, brighter towards gaps where the sky comes through."""
    x, y = grid()
    clumps = fractal(rng, x, y, 0.25, 7, 0.75)
    picture = mix(*wood.leaves, step(clumps, -1.2, 2.4))
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
        trodden = step(np.abs(across - centre), 0.34, 0.22)
        earth = mix(wood.floor[1], rgb(190, 168, 136), 0.65) * (1 + 0.07 * litter)[..., None]
        ground = mix(ground, earth, 0.9 * trodden)
    dapple = step(fractal(rng, across * 0.6, z, 1.2, 5, 0.55, pixel), 0.1, 0.9)
    ground = ground * (0.72 + wood.sun * (0.85 * dapple - 0.12) * 0.8)[..., None]
    ground = mix(ground, wood.air, np.exp(-down / 0.05) * (0.35 + wood.fog))
    edge = step(y + 0.012 * fractal(rng, x, y, 0.05, 4) - horizon, 0, 0.015)
    return mix(picture, ground, edge)


def trunk(
    rng: Rng,
    picture: Array,
    blotches: Array,
    wood: Wood,
    column: float,
    base: float,
    width: float,
    birch: bool,
) -> Array:
    """One stem with furrowed bark, lit from a side, flaring at the root; birches are white with dark bands."""
    x, y = grid()
    near = slice(
        max(int((column - 1.6 * width - 0.05) * WORK), 0), max(int((column + 1.6 * width + 0.05) * WORK), 0)
    )
    x, y = x[:, near], y[:, near]
    if not x.size:
        return picture
    lean, bow = np.clip(rng.normal(0, 0.04, 2), -0.07, 0.07) * (1, 0.4)
    centre = column + lean * (base - y) + bow * np.sin(3 * y) + 0.05 * width * fractal(rng, x * 0, y, 0.2, 3)
    girth = width / 2 * (0.72 + 0.28 * y / base + 0.8 * np.exp((y - base) / (0.5 * width)))
    turn = (x - centre) / girth
    mask = step(np.abs(turn), 1.03, 0.97) * step(y - 0.03 * width * np.sin(40 * x), base + 0.1 * width, base)
    furrows = fractal(rng, np.arcsin(np.clip(turn, -1, 1)) * width, y * 0.22, width * 0.3, 5, 0.75)
    shade = 0.62 + 0.42 * np.clip(turn * rng.choice([-1, 1]), -1, 1) - 0.25 * turn**4
    spots = step(blotches[:, near], 0.5, 1.1) * wood.sun
    bark = wood.bark * rng.uniform(0.75, 1.1)
    if birch:
        bands = step(fractal(rng, turn * 0.25, y / width, 0.5, 4, 0.7), 0.7, 1.3)
        bark = mix(bark, rgb(44, 40, 38), 0.85 * bands)
        furrows = furrows * 0.3
    moss = step(2 * (y - base) + 0.2 - blotches[:, near], 0, 1.2)
    bark = mix(bark, mix(*wood.leaves, 0.45), 0.45 * moss)
    colour = bark * ((shade + 0.45 * spots) * (1 + 0.3 * furrows))[..., None]
    picture = picture.copy()
    picture[:, near] = mix(picture[:, near], np.clip(colour, 0, 1), mask)
    return picture


def foliage(
    rng: Rng, picture: Array, wood: Wood, horizon: float, base: float, distance: float, path: float | None
) -> Array:
    """One layer of leaves, dab by dab from dark to light: boughs overhead and shrubs around the stems."""
    x, y = grid()
    clumps = fractal(rng, x, y, 0.9 / distance**0.6, 5, 0.6)
    overhead = clumps + 4.5 * wood.thick - 2.2 - 5.5 * y / horizon + 0.16 * distance
    shrubs = clumps - 0.9 + wood.thick - np.abs(y - base + 0.2 / distance) * distance * 5
    if path is not None:
        shrubs = shrubs - 3 * np.exp(-(((x - path) / (0.35 / distance + 0.08)) ** 2))
    weight = np.maximum(step(overhead, -0.2, 0.8), 0.9 * step(shrubs, -0.2, 0.8))
    relief = fractal(rng, x, y, 0.35 / distance**0.6, 4, 0.6)
    spots = rng.random((int(9000 + 600 * distance), 2))
    column, row = (spots * WORK).astype(int).T
    kept = rng.random(len(spots)) < weight[row, column]
    light = 0.34 + 0.24 * relief[row, column] + rng.normal(0, 0.2, len(spots))
    order = np.argsort(light + 0.5 * relief[row, column])
    canvas = Image.fromarray(levels(picture))
    draw = ImageDraw.Draw(canvas)
    sizes = np.clip(0.03 / distance, 0.0031, 0.0127) * WORK * rng.uniform(0.5, 1.3, len(spots))
    turns = rng.uniform(0, np.pi, len(spots))
    colours = levels(mix(*wood.leaves, np.clip(light, 0, 1)) * (0.75 + 0.25 * wood.sun))
    for k in order[kept[order]]:
        u, v = sizes[k] * np.cos(turns[k]), sizes[k] * np.sin(turns[k])
        cx, cy = spots[k] * WORK
        leaf = [
            (cx - u, cy - v),
            (cx - v * 0.5, cy + u * 0.5),
            (cx + u, cy + v),
            (cx + v * 0.5, cy - u * 0.5),
        ]
        draw.polygon(leaf, fill=tuple(int(level) for level in colours[k]))
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
    season = pick(rng, "summer", "autumn", "dark", "snow", "fog")
    wood, light = WOODS[season], LIGHTS[pick(rng, "fair", "overcast", "morning")]
    crest = rng.uniform(-0.1, 0.22)
    picture = sky(rng, light, 0.5, None)
    canvas = Image.fromarray(levels(picture))
    tilt, conifers = rng.uniform(-0.2, 0.2), rng.uniform(0.3, 0.9) if season != "autumn" else 0.25
    for row in np.geomspace(1, 3.2, 26):
        t = (row - 1) / 2.2
        count = int(46 / row)
        for column in np.sort(rng.uniform(-0.05, 1.05, count)):
            top = crest + t * (0.95 - crest) + tilt * (column - 0.5) * (1 - t) + rng.normal(0, 0.012 * row)
            veil = (1 - t) * (0.25 + 2 * wood.fog)
            tree(
                rng,
                canvas,
                wood,
                light,
                column * WORK,
                top * WORK,
                0.055 * WORK * row,
                rng.random() < conifers,
                veil,
            )
    return np.asarray(canvas) / 255


def tree(
    rng: Rng,
    canvas: Image.Image,
    wood: Wood,
    light: Light,
    x: float,
    top: float,
    size: float,
    conifer: bool,
    veil: float,
):
    """A conifer of drooping boughs or a round crown of leaf clumps, lit from the upper left."""
    draw = ImageDraw.Draw(canvas)
    tone, count = rng.normal(0, 0.12), 90 if conifer else 320
    down = np.sort(rng.random(count) ** (0.6 if conifer else 1))
    reach = rng.uniform(-1, 1, count)
    half = (
        0.32 * size * down
        if conifer
        else 0.62 * size * np.sqrt(np.clip(1 - (2 * down - 0.9) ** 2 * 0.8, 0, 1))
    )
    height = size * (2.2 if conifer else 1.3)
    glow = 0.34 - 0.2 * reach - 0.25 * down * (not conifer) + tone + rng.normal(0, 0.13, count)
    dark, bright = wood.leaves
    if conifer:
        bright = mix(bright, dark, 0.35)
    colours = levels(mix(mix(dark, bright, np.clip(glow, 0, 1)) * 1.05, light.horizon, veil))
    dab = size * (0.1 if conifer else 0.065)
    draw_order = range(count) if conifer else np.argsort(glow)
    for k in draw_order:
        cx, cy = x + reach[k] * half[k], top + down[k] * height
        fill = tuple(int(level) for level in colours[k])
        if conifer:
            droop = dab * (0.6 + down[k])
            draw.polygon(
                [(cx, cy - dab), (cx - droop, cy + droop), (cx + droop, cy + 0.9 * droop)], fill=fill
            )
        else:
            wide = dab * rng.uniform(0.6, 1.5)
            draw.ellipse([cx - wide, cy - wide * 0.8, cx + wide, cy + wide * 0.8], fill=fill)


# The sample


DRAWERS = {"coast": coast, "forest": forest, "mountain": mountain}


def levels(picture: Array) -> Array:
    """Colours from 0..1 to `uint8`."""
    return (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)


def draw(scene: str, number: int, seed: int = SEED) -> Image.Image:
    """Draws one picture of the sample.

    Args:
        scene: `coast`, `forest` or `mountain`.
        number: which one; each number has its own motif, light and framing.
        seed: the same seed gives the same picture.

    Returns:
        RGB picture of `SIZE` x `SIZE` pixels.
    """
    rng = np.random.default_rng([seed, sorted(DRAWERS).index(scene), number])
    picture = DRAWERS[scene](rng, number)
    x, y = grid()
    vignette = 1 - 0.22 * rng.random() * ((x - 0.5) ** 2 + (y - 0.5) ** 2) * 2
    cast = 1 + rng.normal(0, 0.02, 3)
    picture = np.clip(picture * vignette[..., None] * cast, 0, 1) ** rng.uniform(0.88, 1.1)
    small = Image.fromarray(levels(picture)).resize((SIZE, SIZE), Image.Resampling.LANCZOS)
    grain = ndimage.gaussian_filter(rng.normal(0, 1, (SIZE, SIZE, 1)), (0.5, 0.5, 0)) * rng.uniform(
        0.003, 0.008
    )
    return Image.fromarray(levels(np.asarray(small) / 255 + grain))


def write_sample(out: Path, count: int = COUNT, seed: int = SEED) -> list[Path]:
    """Writes `count` pictures a scene as `<out>/<scene>/<scene>_NN.jpg`, each whole or not at all."""
    for scene in DRAWERS:
        (out / scene).mkdir(parents=True, exist_ok=True)
    jobs = [(out, scene, number, seed) for scene in DRAWERS for number in range(count)]
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(_write_one, *zip(*jobs, strict=True)))


def _write_one(out: Path, scene: str, number: int, seed: int) -> Path:
    path = out / scene / f"{scene}_{number:02d}.jpg"
    part = path.with_name(f".{path.stem}.{os.getpid()}.part")
    try:
        draw(scene, number, seed).save(part, format="JPEG", quality=QUALITY)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path


def main(arguments: list[str] | None = None) -> None:
    """Command line; see the module's description."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep_eda.sample", description=__doc__.split("\n")[0]
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder that gets coast/, forest/ and mountain/"
    )
    parser.add_argument("--count", type=int, default=COUNT, help="pictures per scene (default %(default)s)")
    parser.add_argument(
        "--seed", type=int, default=SEED, help="another seed, other pictures (default %(default)s)"
    )
    options = parser.parse_args(arguments)
    if options.count < 1 or options.seed < 0:
        parser.error("Expected --count of at least 1 and --seed of at least 0.")
    paths = write_sample(options.out, options.count, options.seed)
    size = sum(path.stat().st_size for path in paths)
    print(f"{len(paths)} pictures, {size / 1e6:.2f} MB, in {options.out}")


if __name__ == "__main__":
    main()
