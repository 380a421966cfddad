"""Measures the acquisition: memory against the archive's size, and time against `tar xf`.

    python -m data_prep_eda.benchmark_sun09              # needs 5 GB of disk and a few minutes
    python -m data_prep_eda.benchmark_sun09 --large 500  # a smaller large archive, in MB

Makes two archives with SUN 09's layout, each with all 1,158 wanted names spread over it, reads them from disk
and over HTTP on the loopback, and prints peak memory and seconds beside those of `tar`. Nothing is kept. The
acquisition itself is `data_prep_eda.sun09`.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import http.server
import io
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from data_prep_eda.sun09 import IMAGE_FOLDER, wanted


def make_archive(path: Path, megabytes: int) -> None:
    """Writes a tar of about this size: the wanted photographs (noise, 256x256) evenly among others."""
    rng = np.random.default_rng(0)
    stream = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (256, 256, 3), dtype=np.uint8)).save(stream, "JPEG", quality=40)
    photograph, other = stream.getvalue(), rng.bytes(100_000)
    spare = megabytes * 1_000_000 - len(wanted()) * (len(photograph) + 1024)
    others = max(0, spare // (len(wanted()) * (len(other) + 1024)))
    with tarfile.open(path, "w") as archive:
        for i, name in enumerate(wanted()):
            content = [(f"other_{i}_{k}.jpg", other) for k in range(others)] + [(name, photograph)]
            for member, data in content:
                info = tarfile.TarInfo(f"sun09/Images/{IMAGE_FOLDER}/{member}")
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))


def run(command: list[str] | str) -> dict[str, float]:
    """Runs a command, or a shell's line, to its end.

    Returns:
        `seconds` that passed, `CPU` seconds of all its processes, and `peak MB` of memory of the first one.

    Raises:
        RuntimeError: it failed.
    """
    start = time.perf_counter()
    process = subprocess.Popen(
        command, shell=isinstance(command, str), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    status, peak = (0, 0), 0.0
    while not status[0]:
        # The kernel's own record, ru_maxrss, starts from the memory of the process that forked: ours.
        with contextlib.suppress(OSError):
            found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text())
            peak = max(peak, int(found[1]) / 1024 if found else 0.0)
        time.sleep(0.01)
        status = os.wait4(process.pid, os.WNOHANG)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status[1])
    if process.returncode:
        raise RuntimeError(f"{command} ended with {process.returncode}")
    return {"seconds": seconds, "CPU": status[2].ru_utime + status[2].ru_stime, "peak MB": peak}


class _QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def _serve(folder: str, port) -> None:
    handler = functools.partial(_QuietHandler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        port.put(server.server_port)
        server.serve_forever()


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[str]:
    """Serves a folder over HTTP from another process; yields its address."""
    context = get_context("spawn")
    port = context.Queue()
    process = context.Process(target=_serve, args=(str(folder), port), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{port.get(timeout=60)}"
    finally:
        process.terminate()
        process.join()


def main() -> None:
    """Runs the benchmark and prints a table."""
    parser = argparse.ArgumentParser(
        prog="python -m data_prep_eda.benchmark_sun09", description=__doc__.splitlines()[0]
    )
    parser.add_argument(
        "--small", type=int, default=100, help="megabytes of the small archive (default: 100)"
    )
    parser.add_argument("--large", type=int, default=2000, help="megabytes of the large one (default: 2000)")
    parser.add_argument(
        "--repeats", type=int, default=3, help="runs of each; the fastest counts (default: 3)"
    )
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory(prefix="benchmark_sun09_") as work, serving(Path(work)) as address:
        for megabytes in (options.small, options.large):
            archive = Path(work, f"{megabytes}.tar")
            make_archive(archive, megabytes)
            url = f"{address}/{archive.name}"
            acquire = [sys.executable, "-m", "data_prep_eda.sun09"]
            for _ in range(options.repeats):
                # Interleaved, so that what else the machine does hits all of them.
                for way, tool, command in (
                    ("disk", "sun09", [*acquire, "--source", str(archive), "--out"]),
                    ("disk", "tar", ["tar", "xf", str(archive), "-C"]),
                    ("web", "sun09", [*acquire, "--source", url, "--out"]),
                    ("web", "tar", f"curl --silent {url} | tar xf - -C "),
                ):
                    with tempfile.TemporaryDirectory(dir=work) as target:
                        if isinstance(command, str):
                            measured = run(command + target)
                        else:
                            measured = run([*command, f"{target}/out" if tool == "sun09" else target])
                    rows.append({"MB": megabytes, "from": way, "by": tool} | measured)
                    print(rows[-1], file=sys.stderr)
    frame = pd.DataFrame(rows)
    best = frame.groupby(["from", "MB", "by"])[["seconds", "CPU"]].min().unstack("by")
    print(best.round(2).to_string())
    peaks = frame[frame["by"] == "sun09"].groupby(["from", "MB"])["peak MB"].median().unstack("MB")
    print("\nPeak memory in MB by size of the archive:\n", peaks.round(1).to_string())
    print("Large over small:", (peaks[options.large] / peaks[options.small]).round(3).to_dict())
    seconds = best["seconds"].xs(options.large, level="MB")
    print("Time over that of tar, large archive:", (seconds["sun09"] / seconds["tar"]).round(2).to_dict())


if __name__ == "__main__":
    main()
