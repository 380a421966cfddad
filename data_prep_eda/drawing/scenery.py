"""What every picture of the sample is made of: fractal noise, light and sky, terrain in perspective, water.

Pictures are arrays `[WORK, WORK, 3]` of colours from 0 to 1. Next: `landforms.py` and `woodland.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

SIZE = 256  # edge of a picture, in pixels: that of the study's photographs
WORK = 3 * SIZE // 2  # drawn larger and scaled down, which smooths every edge

Array = np.ndarray
Rng = np.random.Generator


def mix(a: Array, b: Array, share: Array | float) -> Array:
    """Blends colours `a` and `b`; `share` is that of `b`, one per pixel or one for all."""
    share = np.asarray(share)[..., None] if np.ndim(share) else share
    return a * (1 - share) + b * share


def step(value: Array, low: float, high: float) -> Array:
    """Rises smoothly from 0 at `low` to 1 at `high`; falls if `high` is the lower one."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def rgb(*channels: int) -> Array:
    """A colour given as levels 0 to 255."""
    return np.array(channels) / 255


def pick(rng: Rng, *options):
    """One of the options."""
    return options[int(rng.integers(len(options)))]


def levels(picture: Array) -> Array:
    """Colours from 0..1 to `uint8`."""
    return (np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)


def grid() -> tuple[Array, Array]:
    """Columns and rows of the picture, both from 0 to 1."""
    line = (np.arange(WORK) + 0.5) / WORK
    return np.broadcast_to(line, (WORK, WORK)), np.broadcast_to(line[:, None], (WORK, WORK))


def fractal(rng: Rng, x, z, wavelength, octaves=6, gain=0.5, pixel=0.0, ridged=False) -> Array:
    """Multi-octave noise at the points (x, z), about normal with mean 0 and deviation 1.

    Args:
        rng: source of the noise.
        x: coordinates, any shape.
        z: coordinates, the same shape.
        wavelength: of the coarsest octave, in the units of `x` and `z`.
        octaves: how many, each with about half the wavelength of the one before.
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


@dataclass(frozen=True)
class Light:
    """The light of a picture.

    Attributes:
        zenith: colour of the sky overhead.
        horizon: colour of the sky at the horizon, and of haze.
        sun: colour of direct light; above 1 where it outshines the sky.
        shade: colour of the light that reaches shadows.
        cloud: colour of a cloud.
        height: sine of the sun's elevation.
        cover: how much noise makes a cloud; lower is cloudier.
    """

    zenith: Array
    horizon: Array
    sun: Array
    shade: Array
    cloud: Array
    height: float
    cover: float


# fmt: off
LIGHTS = {
    "clear": Light(rgb(48, 104, 178), rgb(176, 208, 232), rgb(268, 255, 230), rgb(76, 92, 117), rgb(250, 250, 250), 0.6, 1.0),
    "fair": Light(rgb(80, 132, 192), rgb(200, 218, 230), rgb(242, 235, 217), rgb(92, 102, 117), rgb(246, 244, 240), 0.55, 0.1),
    "morning": Light(rgb(112, 150, 192), rgb(242, 218, 190), rgb(280, 230, 178), rgb(82, 92, 117), rgb(250, 226, 206), 0.3, 0.6),
    "sunset": Light(rgb(66, 78, 130), rgb(250, 166, 96), rgb(280, 188, 128), rgb(84, 76, 100), rgb(226, 150, 128), 0.16, 0.4),
    "dusk": Light(rgb(48, 58, 98), rgb(216, 178, 160), rgb(150, 116, 112), rgb(82, 84, 108), rgb(126, 112, 136), 0.36, 0.3),
    "overcast": Light(rgb(150, 158, 168), rgb(208, 212, 214), rgb(96, 95, 92), rgb(162, 165, 170), rgb(190, 194, 198), 0.8, -0.6),
    "storm": Light(rgb(84, 94, 108), rgb(178, 184, 186), rgb(82, 82, 82), rgb(115, 120, 130), rgb(120, 126, 134), 0.7, -0.8),
}
# fmt: on


def sky(rng: Rng, light: Light, horizon: float, sun_at: float | None) -> Array:
    """The sky down to the horizon, with clouds on a plane overhead and, if `sun_at` is a column, the sun."""
    x, y = grid()
    up = np.clip(horizon - y, 0, 1)
    picture = mix(light.horizon, light.zenith, step(up, -0.1, 0.75))
    far = 1 / (up + 0.06)
    clouds = fractal(rng, (x - 0.5) * far * 1.3, far, rng.uniform(1.5, 4), 7, 0.55) - light.cover
    density = step(clouds, 0, 1.3) * step(up, 0, 0.12)
    dull = mix(light.zenith, light.cloud, 0.45)
    picture = mix(picture, mix(light.cloud, dull, step(clouds, 0.8, 2.8)), 0.92 * density)
    if sun_at is not None:
        distance = np.hypot(x - sun_at, y - (horizon - 0.35 * light.height - 0.02))
        glow = np.exp(-distance / 0.16)[..., None] * light.sun * 0.45
        disc = step(distance, 0.03, 0.02) * (1 - 0.6 * density)
        picture = picture + glow + disc[..., None]
    return picture


@dataclass(frozen=True)
class View:
    """A camera that looks level over a height field; lengths in metres.

    Attributes:
        eye: height above zero, which is the level of any water.
        horizon: row of the horizon, 0 at the top to 1 at the bottom.
        focal: focal length in picture widths.
        near: distance at which the ground begins.
        far: distance at which it ends.
    """

    eye: float
    horizon: float
    focal: float
    near: float
    far: float


@dataclass(frozen=True)
class Ground:
    """What each pixel `[WORK, WORK]` sees of a height field; lengths in metres.

    Attributes:
        seen: whether there is ground at all; the rest is undefined where it is not.
        x: position, to the right.
        z: position, away from the eye.
        height: negative under water, though the eye meets the surface.
        normal: `[WORK, WORK, 3]`, to the right, up, away.
        hollow: how far it lies below its surroundings, in pixels: gullies get less light from the sky.
        pixel: size of a pixel.
    """

    seen: Array
    x: Array
    z: Array
    height: Array
    normal: Array
    hollow: Array
    pixel: Array


Relief = Callable[[Array, Array, Array], Array]


def look(view: View, relief: Relief, water: bool) -> Ground:
    """Finds for every pixel the point of the height field that it shows.

    Along each column, the elevation seen so far only rises with distance; a pixel shows the first point that
    reaches its line of sight.

    Args:
        view: the camera; it climbs where it would stand inside a slope.
        relief: height at `(x, z, pixel)`.
        water: whether everything below zero is covered by it.
    """
    samples = 900
    away = np.geomspace(view.near, view.far, samples)
    across = (np.arange(WORK) + 0.5 - WORK / 2) / WORK / view.focal
    z = np.broadcast_to(away[:, None], (samples, WORK))
    x = z * across
    stride = np.log(view.far / view.near) / samples  # between samples, relative to their distance
    height = relief(x, z, z * max(0.5 * stride, 1 / WORK / view.focal))
    surface = np.maximum(height, 0) if water else height
    eye = max(view.eye, float((surface + 0.12 * z)[away < 4 * view.near].max()))
    elevation = np.maximum.accumulate((surface - eye) / z, axis=0)
    elevation = elevation + np.arange(samples)[:, None] * 1e-9  # strictly rising, to be inverted
    lines = (view.horizon - (np.arange(WORK) + 0.5) / WORK) / view.focal
    hit = np.stack([np.interp(lines, column, np.arange(samples)) for column in elevation.T], axis=1)
    slope_x = np.gradient(surface, axis=1) / np.gradient(x, axis=1)
    slope_z = np.gradient(surface, axis=0) / np.gradient(z, axis=0) - across * slope_x
    hollow = (ndimage.gaussian_filter(surface, 9) - surface) * WORK * view.focal / (12 * z)
    columns = np.broadcast_to(np.arange(WORK), (WORK, WORK))

    def at(field: Array) -> Array:
        return ndimage.map_coordinates(field, [hit, columns], order=1, mode="nearest")

    normal = np.stack([-at(slope_x), np.ones((WORK, WORK)), -at(slope_z)], axis=-1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    seen = lines[:, None] < elevation[-1]
    return Ground(seen, at(x), at(z), at(height), normal, at(hollow), at(z) / WORK / view.focal)


def lit(ground: Ground, light: Light, albedo: Array, side: float) -> Array:
    """The ground's colour in sunlight from one `side` (-1 left, 1 right) and in the light of the sky."""
    direction = np.array([side, light.height * 1.1 + 0.15, -0.45])
    direct = np.clip(ground.normal @ (direction / np.linalg.norm(direction)), 0, 1)[..., None]
    sheltered = np.clip(1 - 0.35 * np.clip(ground.hollow, 0, 2), 0.35, 1)[..., None]
    return albedo * (light.shade * 1.1 + 1.15 * light.sun * direct) * sheltered


def haze(picture: Array, ground: Ground, light: Light, visibility: float) -> Array:
    """Aerial perspective: the farther, the more like the sky at the horizon; `visibility` in metres."""
    air = mix(light.horizon, light.zenith, 0.22)
    return mix(picture, air, (1 - np.exp(-ground.z / visibility)) * ground.seen)


@dataclass(frozen=True)
class Water:
    """A sheet of water: its own colour (one, or one per pixel) and how rough it is, 0 to about 1.3."""

    deep: Array
    chop: float

    def over(self, rng: Rng, picture: Array, ground: Ground, view: View, light: Light, sun_at=None) -> Array:
        """Mirrors what stands above the horizon of `picture`, darkened and broken by waves."""
        x, y = grid()
        flat = ground.pixel * 2 + ground.z**2 / WORK / view.eye / 6  # a pixel covers more of it lengthwise
        waves = fractal(rng, ground.x * 0.3, ground.z, 9 * self.chop + 0.4, 6, 0.65, flat)
        streaks = fractal(rng, ground.x / ground.z * 3, np.log(ground.z) * 12, 2.5, 5, 0.6)
        ripple = 0.7 * waves + 0.5 * streaks
        rows = (2 * view.horizon - y + 0.02 * self.chop * np.abs(ripple)) * WORK - 0.5
        columns = np.arange(WORK) + 4 * self.chop * ripple
        mirrored = np.empty_like(picture)
        for channel in range(3):
            source = picture[..., channel]
            mirrored[..., channel] = ndimage.map_coordinates(source, [rows, columns], order=1, mode="nearest")
        grazing = np.exp((view.horizon - y) * (2.0 + 2 * self.chop))
        sheen = 0.12 + 0.68 * grazing + 0.09 * self.chop * ripple * (1.5 - grazing)
        surface = mix(self.deep * (light.shade + 0.55 * light.sun), mirrored, np.clip(sheen, 0.05, 0.95))
        surface = surface * (1 + 0.05 * self.chop * ripple[..., None])
        if sun_at is None:
            return surface
        road = np.exp(-(((x - sun_at) / (0.05 + 0.22 * (y - view.horizon))) ** 2)) * step(ripple, 0.1, 1.3)
        return surface + road[..., None] * light.sun * 0.55


def surf(rng: Rng, ground: Ground, shelving: float) -> Array:
    """Foam, 0 to 1: breakers along the depth contours and a lace of foam at the edge of the water."""
    depth = -ground.height / shelving
    wander = fractal(rng, ground.x, ground.z, 25, 4, 0.5)
    lace = fractal(rng, ground.x * 0.6, ground.z, 3.5, 5, 0.75, ground.pixel)
    breakers = step(np.sin(depth / 4.5 + 1.1 * wander), 0.45, 0.95) * step(lace + wander, -0.6, 0.6)
    edge = step(depth, 5, 0) * step(lace, -0.9, 0.2)
    return np.clip(1.2 * breakers * np.exp(-depth / 28) + edge, 0, 1) * (depth > 0)
