"""Where a sweep leaves its results: a folder, or what else fsspec opens, such as `s3://`.

Layout: `<point>/status.json`, `notebook.ipynb` (executed), `stdout.txt`, `metrics.json` and whatever else it writes.
"""

import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from data_prep_eda.files import replacing
from train_model.parameters import ParameterError

STATUS, METRICS, NOTEBOOK, LOG = "status.json", "metrics.json", "notebook.ipynb", "stdout.txt"


class Store:
    """The results of a sweep, or of one of its points, at an address that need not exist yet.

    Raises:
        ParameterError: no package opens such an address, or there is no such bucket.
    """

    def __init__(self, address: str) -> None:
        try:
            self.fs, self.root = fsspec.url_to_fs(address, use_listings_cache=False, skip_instance_cache=True)
            self.local = isinstance(self.fs, LocalFileSystem)
            if not self.local:
                self.fs.info(self.root.partition("/")[0])
        except Exception as error:  # each file system has its own kinds
            raise ParameterError(
                f"Expected a folder or a bucket for results, found {address!r}: {error}. "
                "For s3:// there is: pip install 'scene-classifier[spread]'"
            ) from None

    def read(self, point: str, file: str) -> Any:
        """A point's JSON file; `None` where there is none or it is damaged."""
        for folder in (point, f"{point}/results"):  # runs that `sc batch` dispatched lie one level deeper
            # A power cut leaves empty files.
            with suppress(FileNotFoundError, NotADirectoryError, ValueError):
                return json.loads(self.fs.cat_file(f"{self.root}/{folder}/{file}"))
        return None

    def write(self, name: str, content: bytes) -> None:
        """Replaces a file, whole or not at all; `name` is its path below the address."""
        if self.local:
            with replacing(f"{self.root}/{name}") as part:
                part.write_bytes(content)
        else:
            self.fs.pipe_file(f"{self.root}/{name}", content)

    @contextmanager
    def workspace(self) -> Iterator[Path]:
        """Empties a point, gives a local folder for its results, and keeps what is written into it."""
        if self.fs.isfile(f"{self.root}/{STATUS}"):  # what no sweep made stays
            for file in self.fs.find(self.root):
                self.fs.rm_file(file)
        if self.local:
            Path(self.root).mkdir(parents=True, exist_ok=True)
            yield Path(self.root)
            return
        with tempfile.TemporaryDirectory(prefix="sweep-") as folder:
            try:
                yield Path(folder)
            finally:  # what a failed run wrote is what its reader needs
                for file in filter(Path.is_file, Path(folder).rglob("*")):
                    self.fs.put_file(str(file), f"{self.root}/{file.relative_to(folder).as_posix()}")
