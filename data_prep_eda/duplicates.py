"""Images that are not independent of each other: the same image twice, or shots of one series.

`groups` says which images of SUN 09 belong together, and `related` which of any others.
"""

import hashlib
import itertools
import os
import re
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import imagehash
import numpy as np
import pandas as pd
import scipy.fft
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from data_prep_eda.cache import cached
from data_prep_eda.preprocessing import load_image

# Read off the 525,825 pairs of 1,026 images of SUN 09: all with a correlation of 0.50 or more are the same image, the
# first that is not has 0.48; two further true pairs lie at 0.46, and their perceptual hashes are 10 bits apart.
SAME_PICTURE = 0.50  # phase correlation that needs no second witness
SAME_PICTURE_WITH_HASH = 0.40  # phase correlation that counts when the perceptual hashes are near as well
NEAR_HASH = 10  # bits of 64 in which two perceptual hashes may differ
CANDIDATE = 0.45  # correlation at the coarse size that earns a second look at the fine one
SERIES_GAP = 3  # frames whose numbers differ by no more than this are one series (see notebook 02)
# Of other names than SUN 09's, neighbouring numbers say little; such frames must look alike too.
SERIES_LEVELS = 25  # mean difference of two frames, 8x8 pixels each, in grey levels
SERIES_LAYOUT = 0.8  # correlation of the same
ALL_PAIRS = 4000  # images, beyond which shifted copies are looked for within a label only
VERSION = 1  # raise it when other pairs are found, so that what is cached is not used

Paths = Sequence[str | os.PathLike[str]]


def groups(paths: Paths) -> np.ndarray:
    """Group numbers, `int64 [n]`, of image files: chains of `near_duplicates` and, by SUN 09's names, `series_pairs`."""
    pairs = near_duplicates(paths)[["first", "second"]].to_numpy().tolist()
    return connected(len(paths), pairs + series_pairs(paths))


def connected(n: int, pairs: Sequence[tuple[int, int]]) -> np.ndarray:
    """Group numbers, `int64 [n]` in order of first appearance, of what `pairs` of positions join."""
    first, second = np.array(pairs, dtype=int).reshape(-1, 2).T
    graph = coo_array((np.ones(len(first), dtype=bool), (first, second)), shape=(n, n))
    return pd.factorize(connected_components(graph, directed=False)[1])[0].astype(np.int64)


def near_duplicates(paths: Paths, labels: Sequence[str] | None = None) -> pd.DataFrame:
    """Finds pairs of files that show the same image, also when cropped, scanned or coloured differently.

    Phase correlation (Kuglin and Hines, 1975) lines two images up and compares their detail, without horizontal bands:
    every horizon fits every other. It counts for more where perceptual hashes (Zauner, 2010) agree. Pairs are cached.

    Args:
        paths: image files.
        labels: of each; above `ALL_PAIRS` images, images of different labels are compared by their hash alone.

    Returns:
        A row per pair, most alike first: `first` < `second` (positions in `paths`), `correlation` (1 means identical)
        and `hash_distance` (bits of 64).
    """
    columns = {"first": int, "second": int, "correlation": float, "hash_distance": int}
    digest = hashlib.sha256(f"{VERSION} {labels is not None}".encode())
    for path in paths:
        digest.update(hashlib.sha256(Path(path).read_bytes()).digest())
    name = f"near_duplicates/{digest.hexdigest()[:16]}"
    pairs = cached(name, lambda: _near_duplicates(paths, labels).to_dict("list"))
    return pd.DataFrame(pairs, columns=list(columns)).astype(columns)


def _near_duplicates(paths: Paths, labels: Sequence[str] | None) -> pd.DataFrame:
    if len(paths) < 2:
        return pd.DataFrame()
    signs = _signs(_decoded(paths, 256))
    within = np.zeros(len(paths)) if labels is None or len(paths) <= ALL_PAIRS else np.asarray(labels)
    tables = [_same(signs, signs, shifted=False)]
    for label in np.unique(within):
        members = np.flatnonzero(within == label)
        inside = tuple(sign[members] for sign in signs)
        table = _same(inside, inside)
        tables.append(table.assign(first=members[table["first"]], second=members[table["second"]]))
    pairs = pd.concat(tables).drop_duplicates(["first", "second"])
    pairs = pairs[pairs["first"] < pairs["second"]]
    return pairs.sort_values("correlation", ascending=False, kind="stable", ignore_index=True)


def _decoded(paths: Paths, size: int) -> Iterable[Image.Image]:
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:  # decoders work outside Python's lock
        for batch in (paths[start : start + 256] for start in range(0, len(paths), 256)):  # they are large
            yield from map(Image.fromarray, pool.map(lambda path: load_image(path, size), batch))


def copies(known: Paths, new: Paths) -> dict[int, int]:
    """Position in `new` to the position in `known` of the image that it shows too, whole or by its middle.

    SUN 09 holds squares of slides that other collections have whole: the middle two thirds, across or down.
    """
    if not len(known) or not len(new):
        return {}
    looks = []
    for whole in _decoded(new, 384):
        parts = [whole, whole.crop((64, 0, 320, 384)), whole.crop((0, 64, 384, 320))]
        looks += [image.resize((256, 256), Image.Resampling.BILINEAR) for image in parts]
    pairs = _same(_signs(_decoded(known, 256)), _signs(looks)).sort_values("correlation")
    return dict(zip((pairs["second"] // 3).tolist(), pairs["first"].tolist(), strict=True))


def _signs(images: Iterable[Image.Image]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Coarse and fine spectra, and perceptual hashes as bits, of square images."""
    coarse, fine, hashes = [], [], []
    for image in images:
        grey = image.convert("L")
        coarse.append(_spectrum(grey, 32))
        fine.append(_spectrum(grey, 64))
        hashes.append(imagehash.phash(grey).hash.ravel())
    return np.array(coarse), np.array(fine), np.array(hashes, np.float32)


def _same(ours: tuple[np.ndarray, ...], theirs: tuple[np.ndarray, ...], shifted: bool = True) -> pd.DataFrame:
    """Pairs (`first` of ours, `second` of theirs) that show the same; all of them have near hashes unless `shifted`."""
    bits, others = ours[2], theirs[2]
    candidates, near = [], _correlation_matrix(ours[0], theirs[0]) >= CANDIDATE if shifted else None
    for start in range(0, len(bits), 1000):  # bounds the memory
        rows = bits[start : start + 1000]
        distance = bits.shape[1] - rows @ others.T - (1 - rows) @ (1 - others).T
        chosen = distance <= NEAR_HASH
        first, second = np.nonzero(chosen | near[start : start + 1000] if shifted else chosen)
        candidates.append((first + start, second, distance[first, second].round().astype(int)))
    first, second, distance = (np.concatenate(parts) for parts in zip(*candidates, strict=True))
    correlation = _correlation(ours[1], theirs[1], first, second)
    same = correlation >= np.where(distance <= NEAR_HASH, SAME_PICTURE_WITH_HASH, SAME_PICTURE)
    pairs = {"first": first, "second": second, "correlation": correlation, "hash_distance": distance}
    return pd.DataFrame(pairs)[same]


def _spectrum(grey: Image.Image, size: int) -> np.ndarray:
    """Band-limited, partly whitened spectrum with unit energy, `complex64 [size, size // 2 + 1]`."""
    window = np.outer(np.hanning(size), np.hanning(size))
    levels = np.asarray(grey.resize((size, size), Image.Resampling.BOX), dtype=float) * window
    levels -= levels.sum() / window.sum() * window
    spectrum = scipy.fft.rfft2(levels)
    spectrum /= (np.abs(spectrum) + 1e-6) ** 0.7  # 1 would be pure phase, and noise would count like detail
    down = np.abs(np.fft.fftfreq(size) * size)[:, None]
    across = np.fft.rfftfreq(size)[None] * size
    radius = np.hypot(down, across)
    # Below 3 cycles (2 of 32) lies the layout that all coasts share, above the upper limit scanner grain.
    # No variation across the image means horizon.
    spectrum *= (radius >= 1 + size / 32) & (radius <= 3 * size / 8 + 2 * (size == 32)) & (across >= 1)
    energy = 2 * (np.abs(spectrum) ** 2).sum()  # rfft2 keeps half of the symmetric spectrum
    return (spectrum / np.sqrt(max(energy, 1e-12))).astype(np.complex64)


def _correlation(ours: np.ndarray, theirs: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Highest correlation of pairs of spectra over shifts of up to a sixth of the image, `float [pairs]`."""
    size = ours.shape[1]
    shift = np.minimum(np.arange(size), size - np.arange(size))
    allowed = (shift[:, None] <= size // 6) & (shift[None] <= size // 6)
    best = np.empty(len(first))
    for start in range(0, len(first), 2000):  # bounds the memory when everything resembles everything
        part = slice(start, start + 2000)
        product = ours[first[part]] * theirs[second[part]].conj()
        surface = scipy.fft.irfft2(product, s=(size, size)) * size**2
        best[part] = surface[:, allowed].max(axis=1)
    return best


def _correlation_matrix(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """The same for all pairs, `float32 [n, m]`; a matrix product per shift beats half a million small FFTs."""
    size, alike = ours.shape[1], ours is theirs
    down = (np.fft.fftfreq(size) * size)[:, None]
    across = np.fft.rfftfreq(size)[None] * size
    kept = np.any(theirs != 0, axis=0)
    # Seen as real numbers, since the dot product of two rows is then the real part of their product.
    moving, fixed = (np.ascontiguousarray(spectra[:, kept]) for spectra in (ours, theirs))
    best = np.full((len(ours), len(theirs)), -1, dtype=np.float32)
    for y, x in itertools.product(range(-(size // 6), size // 6 + 1), repeat=2):
        if alike and (y, x) < (0, 0):  # what the opposite shift of the opposite pair gives
            continue
        turn = np.exp(2j * np.pi * (y * down + x * across) / size).astype(np.complex64)[kept]
        np.maximum(best, 2 * (moving * turn).view(np.float32) @ fixed.view(np.float32).T, out=best)
    return np.maximum(best, best.T) if alike else best


def source_and_number(name: str) -> tuple[str, int] | None:
    """Where a SUN 09 image came from and its number there, by its file name; None for other names.

    `c_coast_coast_nat739.jpg` is number 739 of the source `nat`; `c_coast_551034.jpg` (or `_n551034`) is frame 34 of
    the stock photograph disc 551.
    """
    token = Path(name).stem.rsplit("_", 1)[-1]
    if match := re.fullmatch(r"n?([1-9]\d{1,2})(\d{3})", token):
        return f"disc{match[1]}", int(match[2])
    if match := re.fullmatch(r"([a-z]+)([1-9]\d*)", token):
        return match[1], int(match[2])
    return None


def series_pairs(paths: Paths, gap: int = SERIES_GAP) -> list[tuple[int, int]]:
    """Pairs of positions of SUN 09's images of one folder and source whose numbers differ by `gap` at most."""
    numbered = [(Path(path).parent.name, source_and_number(Path(path).name)) for path in paths]
    return _neighbours([number and (folder, *number) for folder, number in numbered], gap)


def _neighbours(numbered: Sequence[tuple | None], gap: int) -> list[tuple[int, int]]:
    """Pairs of positions whose last entries, the numbers, follow each other, and whose other entries are equal."""
    order = sorted((entry, position) for position, entry in enumerate(numbered) if entry)
    return [
        (first, second)
        for (before, first), (after, second) in itertools.pairwise(order)
        if before[:-1] == after[:-1] and after[-1] - before[-1] <= gap
    ]


def related(paths: Sequence[str], labels: Sequence[str]) -> list[tuple[int, int, str]]:
    """Pairs of images, of any names, that belong together, as two positions and what they are.

    A `copy` shows nearly the same. Of a `series` are frames of one folder that look alike and have neighbouring numbers.
    """
    duplicates = near_duplicates(paths, labels)[["first", "second"]].to_numpy().tolist()
    pairs = [(first, second, "copy") for first, second in duplicates]
    numbered = []
    for path in map(Path, paths):
        match = re.fullmatch(r"(.*?)(\d{1,18})(\D*)", path.stem)
        numbered.append(match and (str(path.parent), match[1], match[3], int(match[2])))
    neighbours = _neighbours(numbered, SERIES_GAP)
    seen = sorted({position for pair in neighbours for position in pair})
    small = (image.resize((8, 8), Image.Resampling.BOX) for image in _decoded([paths[i] for i in seen], 64))
    frames = dict(zip(seen, (np.asarray(image, dtype=float) for image in small), strict=True))
    for first, second in neighbours:
        both = np.array([frames[first], frames[second]])
        colourless = both - both.mean(axis=(1, 2), keepdims=True)
        layout = colourless.prod(axis=0).mean() / max(colourless[0].std() * colourless[1].std(), 1e-9)
        if layout >= SERIES_LAYOUT and np.abs(both[0] - both[1]).mean() <= SERIES_LEVELS:
            pairs.append((first, second, "series"))
    return pairs
