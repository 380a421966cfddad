"""Files that appear whole or not at all: the one way in which this project writes."""

import contextlib
import glob
import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path beside a file, which takes the file's place when the block ends without an error.

    The folder is made if needed; the path is hidden, and ends as the file's own name, since some libraries go by it.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{uuid.uuid4().hex}-{path.name[-64:]}")
    try:
        yield part
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def clear_leavings(folder: Path, name: str = "") -> None:
    """Removes what a process that was killed within `replacing` left in a folder, of one file or of all."""
    for path in folder.glob(f".{'[0-9a-f]' * 32}-{glob.escape(name[-64:]) or '*'}"):
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Lets one process at a time into a block that writes in a folder, which is made if needed; others wait.

    Where a folder can't be locked, as on Windows and on some network disks, nobody waits.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(ImportError, OSError):
            import fcntl

            lock = os.open(folder, os.O_RDONLY)
            stack.callback(os.close, lock)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def write_text(path: str | os.PathLike[str], text: str, errors: str = "strict") -> Path:
    """Writes a text file in UTF-8 and returns its path; `errors` as in `open`."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8", errors=errors, newline="")
    return Path(path)


def write_json(path: str | os.PathLike[str], content: Any) -> Path:
    """Writes a JSON file, indented for people, and returns its path."""
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    return write_text(path, text, errors="backslashreplace")  # as JSON escapes a file name that isn't text
