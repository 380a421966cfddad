"""Where the points of a sweep leave their results: a folder, or an `s3://` address.

Layout, the same for both: `<point>/status.json`, `notebook.ipynb` (executed), `stdout.txt`, `metrics.json`
and whatever else the notebook writes.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from data_prep_eda.files import write_json

STATUS, METRICS, NOTEBOOK, LOG = "status.json", "metrics.json", "notebook.ipynb", "stdout.txt"
SUBFOLDERS = ("", "results")  # runs that Saturn Cloud's `sc batch` dispatched lie one level deeper


class StoreError(ValueError):
    """A place for results that cannot be used; the message says why and what to do."""


class Store(Protocol):
    """A place for results."""

    live: bool  # whether a status is cheap enough to write after each cell

    def read(self, point: str, file: str) -> Any:
        """A point's JSON file; `None` where there is none or it is damaged."""

    def write_status(self, point: str, status: dict[str, Any]) -> None:
        """Replaces a point's status, whole or not at all."""

    def workspace(self, point: str) -> Any:
        """Context manager that empties a point, gives a local folder for its results, and keeps them."""

    def keep(self, file: Path) -> str:
        """Keeps a file beside the points and returns its address."""


def open_store(address: str) -> Store:
    """Opens the place at an address.

    Args:
        address: path of a folder, which need not exist, `file://` address, or `s3://bucket/prefix`.

    Raises:
        StoreError: another kind of address, or the package for it is missing.
    """
    if address.startswith("s3://"):
        return S3Store(address)
    if "://" in address and not address.startswith("file://"):
        raise StoreError(f"Results go to a folder or an s3:// address, found {address!r}.")
    return FolderStore(Path(address.removeprefix("file://")))


class FolderStore:
    """Results in a folder of this machine, or one that all machines share."""

    live = True

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    def read(self, point: str, file: str) -> Any:
        for subfolder in SUBFOLDERS:
            try:
                return json.loads((self.root / point / subfolder / file).read_text(encoding="utf-8"))
            except (FileNotFoundError, NotADirectoryError, ValueError):  # a power cut leaves empty files
                continue
        return None

    def write_status(self, point: str, status: dict[str, Any]) -> None:
        write_json(self.root / point / STATUS, status)

    @contextmanager
    def workspace(self, point: str) -> Iterator[Path]:
        folder = self.root / point
        # What an earlier attempt left could pass for this one's. Only folders that a sweep made are emptied.
        if (folder / STATUS).is_file():
            shutil.rmtree(folder)
        folder.mkdir(parents=True, exist_ok=True)
        yield folder

    def keep(self, file: Path) -> str:
        self.root.mkdir(parents=True, exist_ok=True)
        part = self.root / f".{file.name}"
        shutil.copyfile(file, part)
        part.replace(self.root / file.name)
        return str(self.root / file.name)


class S3Store:
    """Results in a bucket. `AWS_ENDPOINT_URL` and the other variables of the AWS tools apply."""

    live = False

    def __init__(self, address: str) -> None:
        try:
            import boto3
            from botocore.exceptions import BotoCoreError, ClientError
        except ImportError:
            raise StoreError(f"{address} needs boto3: pip install 'papermill[s3]'.") from None
        self.bucket, _, self.prefix = address.removeprefix("s3://").rstrip("/").partition("/")
        try:
            self.client = boto3.client("s3")
            self.client.head_bucket(Bucket=self.bucket)
        except (BotoCoreError, ClientError) as error:  # no such bucket, no credentials, no connection
            raise StoreError(
                f"Expected a bucket {self.bucket!r} that may be written to; asking for it failed: {error}"
            ) from None

    def _key(self, *parts: str) -> str:
        return "/".join(part for part in (self.prefix, *parts) if part)

    def read(self, point: str, file: str) -> Any:
        for subfolder in SUBFOLDERS:
            key = self._key(point, subfolder, file)
            try:
                return json.loads(self.client.get_object(Bucket=self.bucket, Key=key)["Body"].read())
            except (self.client.exceptions.NoSuchKey, ValueError):
                continue
        return None

    def write_status(self, point: str, status: dict[str, Any]) -> None:
        body = json.dumps(status, indent=2).encode()
        self.client.put_object(Bucket=self.bucket, Key=self._key(point, STATUS), Body=body)

    @contextmanager
    def workspace(self, point: str) -> Iterator[Path]:
        prefix = self._key(point) + "/"
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=prefix)
        found = [one["Key"] for page in pages for one in page.get("Contents", ())]
        if point and prefix + STATUS in found:  # as in a folder: what no sweep made stays
            for key in found:
                self.client.delete_object(Bucket=self.bucket, Key=key)
        with tempfile.TemporaryDirectory(prefix="sweep-") as folder:
            try:
                yield Path(folder)
            finally:  # what a failed run wrote is what its reader needs
                for file in sorted(Path(folder).rglob("*")):
                    if file.is_file():
                        key = prefix + file.relative_to(folder).as_posix()
                        self.client.upload_file(str(file), self.bucket, key)

    def keep(self, file: Path) -> str:
        self.client.upload_file(str(file), self.bucket, self._key(file.name))
        return f"s3://{self.bucket}/{self._key(file.name)}"
