"""Frozen features: computed once per image, kept in the folder `SCENES_CACHE_DIR`, and read back.

The cache goes by content: its folder names the backbone, its weights, the input size, the preprocessing version and the
augmented view; a row in it is found by the SHA-256 of the image's bytes. A file that is damaged is made anew.
"""

import contextlib
import functools
import hashlib
import io
import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from data_prep_eda.cache import CACHE
from data_prep_eda.files import replacing, write_text
from data_prep_eda.preprocessing import VERSION, load_image
from train_model import tflite
from train_model.augmentation import Augmentation
from train_model.backbones import BACKBONES, Backbone, feature_extractor, weights_digest

SHIPPED_CACHE = Path(__file__).parent / "sample_features"  # Xception's features of the embedded sample

PART = 256  # images a cache file: what an interruption can lose at most
REPRESENTATIVE = 64  # images that fix the ranges of 8-bit activations; of a small set a quarter does
AHEAD = 128  # images decoded ahead of the network, 19 MB; more are no faster
DECODED = 1024  # decoded images kept for further views of them, 154 MB

Prepare = Callable[[int], np.ndarray]  # number of an image to its pixels


class CacheError(OSError):
    """The cache cannot be read or written; the message says why and what to do."""


@contextlib.contextmanager
def _usable(cache: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CacheError(
            f"Expected to read and write the cache in {cache}: {error.strerror or error}. Make room or mend "
            f"that folder (it may be deleted), or name another one in the environment variable SCENES_CACHE_DIR."
        ) from None


@dataclass(frozen=True)
class View:
    """One augmented look at every image; epoch k trains on the view of number k.

    An image's random numbers come from the seed, the number and its bytes, whatever its name, neighbours and order.
    """

    augmentation: Augmentation
    seed: int
    number: int

    @property
    def key(self) -> str:
        """Names the view in the cache."""
        return f"{self.augmentation.name}-v{self.augmentation.version}-{self.seed}-{self.number}"

    def apply(self, image: np.ndarray, digest: bytes) -> np.ndarray:
        """The augmented `uint8 [size, size, 3]` image."""
        entropy = (self.seed, self.number, int.from_bytes(digest[:8], "big"))
        return self.augmentation(image[None], np.random.default_rng(entropy))[0]


def extract_features(
    paths: Iterable[str | os.PathLike[str]],
    backbone: Backbone = BACKBONES["mobilenet"],
    *,
    weights: str = "auto",
    view: View | None = None,
    cache: Path = CACHE,
    engine: str = "auto",
    model: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Pooled features of image files, `float32 [n, features]`, from the cache where they are known.

    Every `PART` new ones are written to the cache, so an interrupted call continues where it stopped.

    Args:
        backbone: the frozen network, with `weights` as for `train_model.backbones.find_weights`.
        view: an augmented view; None for the image as it is.
        engine: `litert` (XNNPACK, fastest on a CPU), `keras` (any backend, any GPU) or `auto`: Keras if it
            sees a GPU or doesn't run on TensorFlow, else LiteRT. They differ by about 2e-5 in a feature.
        model: a TFLite file from images to features, such as `quantised_extractor`'s; it replaces `engine`.
        progress: called with (done, all).

    Raises:
        ImageError: an image cannot be decoded.
        WeightsNotFound: features are missing and so are the weights to compute them.
        CacheError: the cache cannot be read or written.
    """
    paths = list(paths)  # a column of a table counts by its own index
    name = _configuration(backbone, weights) + (f"-{_digest(model).hex()[:16]}" if model else "")
    place = Path("features", f"{name}-v{VERSION}", view.key if view else "plain")
    with _usable(cache):
        known = _read_index([cache / place, SHIPPED_CACHE / place])
    digests = list(_in_order(_digest, paths))
    missing = [row for row, digest in enumerate(digests) if digest not in known]
    progress = progress or (lambda done, total: None)
    progress(len(paths) - len(missing), len(paths))

    def prepare(row: int) -> np.ndarray:
        if view:
            return view.apply(decoded(digests[row], paths[row], backbone.input_size), digests[row])
        return load_image(paths[row], backbone.input_size)

    if missing:
        computed = _engine(backbone, weights, engine, cache, model)(prepare, missing)
    for start in range(0, len(missing), PART):
        part = [digests[row] for row in missing[start : start + PART]]
        for done, digest in enumerate(part, len(paths) - len(missing) + start + 1):
            known[digest] = next(computed)
            progress(done, len(paths))
        with _usable(cache):
            _write_part(cache / place, part, [known[digest] for digest in part])
    return np.array([known[digest] for digest in digests], np.float32).reshape(-1, backbone.features)


def image_features(
    images: np.ndarray, backbone: Backbone = BACKBONES["mobilenet"], weights: str = "auto"
) -> np.ndarray:
    """As `extract_features`, of images in memory, `uint8 [n, size, size, 3]`; they are not kept."""
    compute = _engine(backbone, weights, "auto", CACHE)
    return np.stack(list(compute(images.__getitem__, range(len(images)))))


def _digest(path: str | os.PathLike[str]) -> bytes:
    return hashlib.sha256(Path(path).read_bytes()).digest()


@functools.lru_cache(maxsize=DECODED)
def decoded(digest: bytes, path: str | os.PathLike[str], size: int) -> np.ndarray:
    """An image that further views are drawn from; its digest is part of the key, in case the file changes."""
    return load_image(path, size)


def _in_order(function: Callable, items: Iterable) -> Iterator:
    """`map` on one thread per core, in order, never more than `AHEAD` items ahead: memory stays flat."""
    source = iter(items)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        waiting = deque(pool.submit(function, item) for item in itertools.islice(source, AHEAD))
        while waiting:
            yield waiting.popleft().result()
            waiting.extend(pool.submit(function, item) for item in itertools.islice(source, 1))


def gpu_available() -> bool:
    """Whether Keras sees a GPU, on any backend."""
    with contextlib.suppress(RuntimeError):  # JAX's answer where there is none
        return bool(keras.distribution.list_devices("gpu"))
    return False


def _engine(
    backbone: Backbone, weights: str, engine: str, cache: Path, model: Path | None = None
) -> Callable:
    if model:
        return functools.partial(compute_litert, model)
    if engine == "auto":
        engine = "keras" if gpu_available() or keras.backend.backend() != "tensorflow" else "litert"
    if engine == "keras":
        return functools.partial(_compute_keras, feature_extractor(backbone, weights))
    if engine == "litert":
        return functools.partial(compute_litert, litert_file(backbone, weights, cache))
    raise ValueError(f"Expected the engine 'auto', 'litert' or 'keras', found {engine!r}.")


def compute_litert(model: bytes | Path, prepare: Prepare, rows: Iterable[int]) -> Iterator[np.ndarray]:
    """A TFLite model's answers to the images `prepare(row)`, in order, on all cores, of which as many decode ahead."""
    answer = tflite.OnEachThread(model)
    return _in_order(lambda image: next(iter(answer(image).values())), _in_order(prepare, rows))


def _compute_keras(model: keras.Model, prepare: Prepare, rows: Iterable[int]) -> Iterator[np.ndarray]:
    """Batches on whatever device Keras uses, decoded ahead on the other cores."""
    images = _in_order(prepare, rows)
    while batch := list(itertools.islice(images, 32)):
        # One shape for all batches: a compiled graph is not traced again for the last, shorter one.
        padded = np.resize(batch, (32, *batch[0].shape))
        yield from keras.ops.convert_to_numpy(model.predict_on_batch(padded))[: len(batch)]


def litert_file(backbone: Backbone, weights: str, cache: Path) -> Path:
    """The backbone as a float32 TFLite file, converted once."""
    name = f"{_configuration(backbone, weights)}.tflite"
    return _kept(cache, name, lambda: tflite.convert(feature_extractor(backbone, weights), "float32"))


def _kept(cache: Path, name: str, make: Callable[[], bytes]) -> Path:
    """A TFLite file of the cache, made if it isn't there or its bytes are not those that were written."""
    path = cache / "litert" / f"v{tflite.VERSION}" / name
    check = path.with_name(f"{name}.sha256")
    with _usable(cache):
        known = path.is_file() and check.is_file() and check.read_text() == _digest(path).hex()
    if not known:
        content = make()
        with _usable(cache):
            with replacing(path) as part:
                part.write_bytes(content)
            write_text(check, hashlib.sha256(content).hexdigest())
    return path


def quantised_extractor(
    paths: Sequence[Path], backbone: Backbone = BACKBONES["mobilenet"], weights: str = "auto"
) -> Path:
    """Path of the backbone as an 8-bit TFLite file, as inside the served one; `representative` images fix its ranges."""
    paths = representative(paths)
    digest = hashlib.sha256(b"".join(map(_digest, paths))).hexdigest()[:16]

    def convert() -> bytes:
        images = np.stack([load_image(path, backbone.input_size) for path in paths])
        return tflite.convert(feature_extractor(backbone, weights), "int8", images)

    return _kept(CACHE, f"{_configuration(backbone, weights)}-int8-{digest}-v{VERSION}.tflite", convert)


def representative(paths: Sequence[str | os.PathLike[str]], count: int | None = None) -> list:
    """Some of the images, at even distances in their order: `count`, or by default at most `REPRESENTATIVE`."""
    paths = list(paths)
    count = min(len(paths), count or min(REPRESENTATIVE, max(12, len(paths) // 4)))
    return [paths[row] for row in np.unique(np.linspace(0, len(paths) - 1, count).astype(int))]


def _configuration(backbone: Backbone, weights: str) -> str:
    """Names what turns pixels into features."""
    return f"{backbone.name}-{backbone.input_size}-{weights_digest(backbone, weights)}"


def _read_index(folders: Iterable[Path]) -> dict[bytes, np.ndarray]:
    """Digest of each known image to its features in a cache file, memory-mapped."""
    known: dict[bytes, np.ndarray] = {}
    for path in itertools.chain.from_iterable(sorted(folder.glob("*.npy")) for folder in folders):
        if _digest(path).hex()[:32] == path.stem:  # else damaged: its images are computed again
            part = np.load(path, mmap_mode="r")
            known |= zip(map(bytes, part["digest"]), part["features"], strict=True)
    return known


def _write_part(folder: Path, digests: list[bytes], features: list[np.ndarray]) -> None:
    """Adds a file to the cache, named by its content."""
    rows = np.zeros(len(digests), [("digest", "u1", 32), ("features", "<f4", len(features[0]))])
    rows["digest"] = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 32)
    rows["features"] = features
    stream = io.BytesIO()
    np.save(stream, rows)
    content = stream.getvalue()
    with replacing(folder / f"{hashlib.sha256(content).hexdigest()[:32]}.npy") as part:
        part.write_bytes(content)
