"""What can be computed again is kept in the folder `CACHE`, under the contents that it was computed from."""

import contextlib
import functools
import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from data_prep_eda.files import write_json

REPOSITORY = Path(__file__).resolve().parents[1]
CACHE = Path(os.environ.get("SCENES_CACHE_DIR") or REPOSITORY / ".cache").expanduser()


def cached(name: str, make: Callable[[], Any]) -> Any:
    """What `make` returned when it was first called, kept, if that can be, as JSON under a name and the decoder's code."""
    path = CACHE / f"{name}-{_decoder_digest()}.json"
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        content = make()
    with contextlib.suppress(OSError):
        write_json(path, content)
    return content


@functools.cache
def _decoder_digest() -> str:
    code = [Path(__file__).with_name(name).read_bytes() for name in ("preprocessing.py", "image_checks.py")]
    return hashlib.sha256(b"".join(code)).hexdigest()[:8]
