"""Draws the embedded sample: small pictures of coasts, forests and mountains, made by code alone.

The sample stands in for photographs wherever those are not at hand, so that every notebook runs offline.

`python -m data_prep_eda.drawing.sample --out DIR --count 40 --seed 20` draws it anew. Next: `sample/README.md` says
what it may be used for, `drawing/` how the pictures are made.
"""

from __future__ import annotations

import argparse
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from data_prep_eda.drawing.landforms import coast, mountain
from data_prep_eda.drawing.scenery import SIZE, grid, levels
from data_prep_eda.drawing.woodland import forest
from data_prep_eda.files import replacing

COUNT, SEED, QUALITY = 40, 20, 85  # those of the committed sample
DRAWERS = {"coast": coast, "forest": forest, "mountain": mountain}


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
    return _develop(rng, DRAWERS[scene](rng, number))


def _develop(rng: np.random.Generator, picture: np.ndarray) -> Image.Image:
    """What a camera adds: darker corners, a colour cast, a tone curve, and grain at the final size."""
    x, y = grid()
    corners = 1 - 0.44 * rng.random() * ((x - 0.5) ** 2 + (y - 0.5) ** 2)
    cast, gamma, grain = 1 + rng.normal(0, 0.02, 3), rng.uniform(0.85, 1.05), rng.uniform(0.003, 0.008)
    picture = np.clip(picture * corners[..., None] * cast, 0, 1) ** gamma
    small = Image.fromarray(levels(picture)).resize((SIZE, SIZE), Image.Resampling.LANCZOS)
    noise = ndimage.gaussian_filter(rng.normal(0, grain, (SIZE, SIZE)), 0.5)[..., None]
    return Image.fromarray(levels(np.asarray(small) / 255 + noise))


def write_sample(out: Path, count: int = COUNT, seed: int = SEED) -> list[Path]:
    """Writes `count` pictures a scene as `<out>/<scene>/<scene>_NN.jpg`, each whole or not at all.

    Args:
        out: folder that gets one folder per scene; pictures of the same name are replaced.
        count: pictures per scene.
        seed: of all of them.

    Returns:
        Paths of the pictures.
    """
    for scene in DRAWERS:
        (out / scene).mkdir(parents=True, exist_ok=True)
    jobs = [(out, scene, number, seed) for scene in DRAWERS for number in range(count)]
    # Spawned, not forked: a process with TensorFlow loaded must not be forked.
    with ProcessPoolExecutor(mp_context=multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(_write_one, *zip(*jobs, strict=True)))


def _write_one(out: Path, scene: str, number: int, seed: int) -> Path:
    path = out / scene / f"{scene}_{number:02d}.jpg"
    with replacing(path) as part:
        draw(scene, number, seed).save(part, format="JPEG", quality=QUALITY)
    return path


def main(arguments: list[str] | None = None) -> None:
    """Command line; see the module's description."""
    about = "Draws the embedded sample: pictures of coasts, forests and mountains, made by code alone."
    parser = argparse.ArgumentParser(prog="python -m data_prep_eda.drawing.sample", description=about)
    parser.add_argument("--out", type=Path, required=True, help="folder for coast/, forest/ and mountain/")
    parser.add_argument("--count", type=int, default=COUNT, help="pictures per scene (default %(default)s)")
    parser.add_argument("--seed", type=int, default=SEED, help="of the random numbers (default %(default)s)")
    options = parser.parse_args(arguments)
    if options.count < 1 or options.seed < 0:
        parser.error(
            f"Expected --count of at least 1 and --seed of at least 0, found {options.count} and {options.seed}."
        )
    paths = write_sample(options.out, options.count, options.seed)
    size = sum(path.stat().st_size for path in paths)
    print(f"{len(paths)} pictures, {size / 1e6:.2f} MB, in {options.out}")


if __name__ == "__main__":
    main()
