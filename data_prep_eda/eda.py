"""What the images look like, in numbers: names, light and colour, spectra, and how the classes differ (notebook 01)."""

import functools
import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.fft
import scipy.stats
from PIL import Image
from scipy.ndimage import gaussian_filter
from skimage.color import rgb2lab

from data_prep_eda.duplicates import Paths
from data_prep_eda.preprocessing import load_image

# The sub-categories that SUN 09's file names start with, the longer ones first: a forest path is no forest.
CATEGORIES = (
    *("mountain_snowy", "mountain_peak", "mountain_tent", "mountain_trail", "country_road", "forest_path"),
    *("bambouserie", "backwater", "rainforest", "mountain", "seaside", "canyon", "forest", "beach", "coast"),
    *("ocean", "river", "hill", "lake", "park", "sea"),
)
# The categories of Oliva and Torralba (2001) that occur in the names.
FIRST_LABELS = ("coast", "forest", "mountain", "opencountry")

SIZE = 128  # edge length in pixels at which light, colour and spectra are measured
ORIENTATIONS = 8  # sectors of 22.5 degrees
BANDS = {"coarse": (2, 8), "medium": (8, 24), "fine": (24, 56)}  # cycles per image


def read_names(names: Sequence[str]) -> pd.DataFrame:
    """What file names say, a row a name: `category` and `first_label`; empty strings where one doesn't say.

    `m_mountain_snowy_forest_nat212.jpg` is in SUN's category `mountain_snowy`, and in Oliva and Torralba's `forest`.
    """
    pattern = rf"^[a-z]_(?P<category>{'|'.join(CATEGORIES)})"
    pattern += rf"(?:_(?P<first_label>{'|'.join(FIRST_LABELS)})_[a-z]+\d+$|_|$)"
    return pd.Series([Path(name).stem for name in names], dtype=str).str.extract(pattern).fillna("")


@dataclass(frozen=True)
class Survey:
    """What one look at every image gives.

    Attributes:
        measures: a row an image. `width`, `height`, `mode` and `kilobytes` of the file; `lightness` (mean L*) and
            `contrast` (standard deviation of L*); `chroma` (mean distance from grey), `green_red` and `blue_yellow`
            (mean a* and b*); `sky` (mean L* of the upper third less that of the lower third); `slope` of the amplitude
            spectrum; the shares of spectral energy in `upright` structure (trunks), `level` (horizons) and `oblique`.
        mean_images: label to the mean of its images, `uint8 [size, size, 3]`, averaged in linear light.
        mean_spectra: label to the mean log amplitude spectrum, `float64 [size, size]`, frequency zero at the centre.
        energy: `orientation_energy` of each image, `float64 [n, bands, orientations]`.
    """

    measures: pd.DataFrame
    mean_images: dict[str, np.ndarray]
    mean_spectra: dict[str, np.ndarray]
    energy: np.ndarray


def survey(paths: Paths, labels: Sequence[str], progress: Callable[[int, int], None]) -> Survey:
    """Measures image files with their labels; `progress` is called with (done, all)."""
    n = dict(sorted(Counter(np.asarray(labels).tolist()).items()))
    light = {label: np.zeros((SIZE, SIZE, 3)) for label in n}
    spectra = {label: np.zeros((SIZE, SIZE)) for label in n}
    rows, energies = [], []
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        for label, (row, image, amplitude) in zip(labels, pool.map(_measure, paths), strict=True):
            energies.append(orientation_energy(amplitude))
            share = energies[-1].sum(axis=0) / max(energies[-1].sum(), 1e-12)
            upright, level = share[[0, 1, -1]].sum(), share[3:6].sum()  # three sectors of eight each
            rows.append(row | {"upright": upright, "level": level, "oblique": 1 - upright - level})
            light[label] += (image / 255.0) ** 2.2
            spectra[label] += np.log(amplitude + 1e-3)
            progress(len(rows), len(paths))
    images = {label: ((light[label] / n[label]) ** (1 / 2.2) * 255).round().astype(np.uint8) for label in n}
    spectra = {label: spectra[label] / n[label] for label in n}
    return Survey(pd.DataFrame(rows), images, spectra, np.array(energies))


def _measure(path: str | os.PathLike[str]) -> tuple[dict[str, float | str], np.ndarray, np.ndarray]:
    """Measures of one image, its pixels, and its amplitude spectrum."""
    image = load_image(path, SIZE)  # refuses what is broken, before Pillow looks at its metadata
    with Image.open(path) as opened:
        row = {"width": opened.width, "height": opened.height, "mode": opened.mode}
    lightness, green_red, blue_yellow = np.moveaxis(rgb2lab(image), -1, 0)
    amplitude = amplitude_spectrum(lightness)
    row |= {
        "kilobytes": os.path.getsize(path) / 1000,
        "lightness": lightness.mean(),
        "contrast": lightness.std(),
        "chroma": np.hypot(green_red, blue_yellow).mean(),
        "green_red": green_red.mean(),
        "blue_yellow": blue_yellow.mean(),
        "sky": lightness[: SIZE // 3].mean() - lightness[-(SIZE // 3) :].mean(),
        "slope": spectral_slope(amplitude),
    }
    return row, image, amplitude


def amplitude_spectrum(lightness: np.ndarray) -> np.ndarray:
    """Amplitude of the Fourier transform of `lightness`, `float64 [size, size]`; frequency zero is at `size // 2`.

    Local contrast is evened out, and the border faded out (Oliva and Torralba, 2001, section 3).
    """
    size = lightness.shape[0]
    detail = lightness - gaussian_filter(lightness, size / 12, mode="reflect", truncate=2.5)
    local = np.sqrt(gaussian_filter(detail**2, size / 12, mode="reflect", truncate=2.5))
    window = np.outer(np.hanning(size), np.hanning(size))
    return np.abs(scipy.fft.fftshift(scipy.fft.fft2(detail / (local + 5) * window)))


@functools.lru_cache(maxsize=4)
def _frequencies(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Radius in cycles per image and direction in radians (0 to pi) of each entry of a spectrum."""
    axis = np.arange(size) - size // 2
    down, across = np.meshgrid(axis, axis, indexing="ij")
    return np.hypot(down, across), np.arctan2(down, across) % np.pi


def orientation_energy(amplitude: np.ndarray) -> np.ndarray:
    """Spectral energy by scale and direction, `[bands, orientations]`, of an `amplitude_spectrum`.

    Sector k is centred on k times 22.5 degrees: 0 is upright structure, the middle one level structure.
    """
    radius, direction = _frequencies(amplitude.shape[0])
    sector = np.round(direction / np.pi * ORIENTATIONS).astype(int) % ORIENTATIONS
    energy = np.empty((len(BANDS), ORIENTATIONS))
    for i, (low, high) in enumerate(BANDS.values()):
        ring = (radius >= low) & (radius < high)
        energy[i] = np.bincount(sector[ring], weights=amplitude[ring] ** 2, minlength=ORIENTATIONS)
    return energy


def spectral_slope(amplitude: np.ndarray) -> float:
    """Slope of log amplitude over log frequency, averaged over directions (Torralba and Oliva, 2003)."""
    radius = np.round(_frequencies(amplitude.shape[0])[0]).astype(int)
    rings = np.bincount(radius.ravel(), weights=amplitude.ravel()) / np.bincount(radius.ravel())
    used = np.arange(10, amplitude.shape[0] // 2 - 8)  # below, the evening out of contrast took away
    return float(np.polyfit(np.log(used), np.log(rings[used] + 1e-9), 1)[0])


def compare_classes(measures: pd.DataFrame, labels: Sequence[str]) -> pd.DataFrame:
    """Tests whether measures, a column each, differ between the classes, and says by how much.

    Returns:
        A row per measure, largest effect first: median per class; `H` and `p` of Kruskal and Wallis' test, corrected
        by `holm`; `epsilon2`, the share of the rank variance that the class explains; and `delta <first>/<second>`,
        Cliff's delta of each pair of classes.
    """
    labels = np.asarray(labels)
    names = np.unique(labels).tolist()
    rows = []
    for measure in measures.columns:
        values = {label: measures.loc[labels == label, measure].to_numpy(float) for label in names}
        row = {"measure": measure} | {label: np.median(values[label]) for label in names}
        alike = measures[measure].nunique() == 1  # nothing to test
        row["H"], row["p"] = (0.0, 1.0) if alike else scipy.stats.kruskal(*values.values())
        row["epsilon2"] = row["H"] / (len(labels) - 1)
        for first, second in combinations(names, 2):
            row[f"delta {first}/{second}"] = cliffs_delta(values[first], values[second])
        rows.append(row)
    table = pd.DataFrame(rows).set_index("measure").sort_values("epsilon2", ascending=False)
    table["p"] = holm(table["p"].to_numpy())
    return table


def cliffs_delta(first: np.ndarray, second: np.ndarray) -> float:
    """Chance that a value of `first` exceeds one of `second`, less the chance of the reverse; -1 to 1."""
    u = scipy.stats.mannwhitneyu(first, second).statistic
    return float(2 * u / (len(first) * len(second)) - 1)


def holm(p: np.ndarray) -> np.ndarray:
    """p-values corrected for their number (Holm, 1979)."""
    order = np.argsort(p)
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(1, np.maximum.accumulate(np.asarray(p)[order] * np.arange(len(p), 0, -1)))
    return corrected


def cramers_v(table: pd.DataFrame) -> tuple[float, float]:
    """Cramér's V, 0 to 1, of a table of counts, with Bergsma's (2013) correction, and the chi-squared test's p-value."""
    counts = table.to_numpy()
    counts = counts[counts.sum(axis=1) > 0][:, counts.sum(axis=0) > 0]
    rows, columns = counts.shape
    if min(rows, columns) < 2:
        return 0.0, 1.0
    chi2, p, _, _ = scipy.stats.chi2_contingency(counts)
    n = counts.sum()
    phi2 = max(0.0, chi2 / n - (rows - 1) * (columns - 1) / (n - 1))
    rows, columns = rows - (rows - 1) ** 2 / (n - 1), columns - (columns - 1) ** 2 / (n - 1)
    return float(np.sqrt(phi2 / max(min(rows, columns) - 1, 1e-9))), float(p)
