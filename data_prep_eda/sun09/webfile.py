"""A file on a web server, read from front to back, that survives dropped connections."""

import http.client
import io
import string
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator

from tqdm import tqdm

from data_prep_eda.archives import BLOCK, CHUNK, AcquisitionError

BUSY = (408, 425, 429, 500, 502, 503, 504)
ADVICE = "Check the address, or name a copy available: --source sun09.tar."
KEPT = "What was found is kept. Run the command again to continue."


class WebFile(io.RawIOBase):
    """A reader for `io.BufferedReader` that asks for the rest with an HTTP range request after a fault.

    Args:
        url: http or https address; spaces and letters outside ASCII are encoded.
        position: byte to begin with.
        identity: entity tag, date and length of the version to go on with; None for any.
        retries: attempts without any progress before giving up.
        timeout: seconds without a byte that count as a stall.
        pause: seconds before the first new attempt; doubles with each further one.

    Raises:
        AcquisitionError: there is no such file, or another version of it; from reading, too.
    """

    def __init__(
        self,
        url: str,
        position: int = 0,
        identity: list | None = None,
        *,
        retries: int = 6,
        timeout: float = 30.0,
        pause: float = 1.0,
    ) -> None:
        super().__init__()
        # As browsers do; what is encoded already, and what has a meaning in an address, stays.
        self.url = urllib.parse.quote(url, safe=string.punctuation, errors="surrogateescape")
        self.position, self.identity = position, identity
        self._retries, self._timeout, self._pause = retries, timeout, pause
        self._pieces = self._receive()
        self._rest = next(self._pieces, b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        """Reads what has come, a block at least; returns the number of bytes, 0 at the end of the file."""
        while len(self._rest) < BLOCK and (piece := next(self._pieces, b"")):
            self._rest += piece
        n = min(len(buffer), len(self._rest))
        buffer[:n], self._rest = self._rest[:n], self._rest[n:]
        return n

    def close(self) -> None:
        self._pieces.close()
        super().close()

    def _receive(self) -> Iterator[bytes]:
        """The bytes as they come, over as many connections as it takes."""
        failures, wait = 0, self._pause
        while True:
            try:
                with self._connect() as response:
                    self._begin(response)
                    while piece := response.read1(CHUNK):
                        self.position += len(piece)
                        failures, wait = 0, self._pause
                        yield piece
                if self.position >= (self.identity[2] or 0):
                    return
                reason = "the connection ended early"
            except (OSError, http.client.HTTPException) as error:
                reason = getattr(error, "reason", None) or error
            failures += 1
            if failures > self._retries:
                found = f"no way on after {self._retries} more attempts ({reason}). {KEPT}"
                raise AcquisitionError(f"Expected the archive from {self.url}, found {found}")
            tqdm.write(f"Connection lost at {self.position / 1e6:,.0f} MB ({reason}); again in {wait:.0f} s.")
            time.sleep(wait)
            wait = min(2 * wait, 60)

    def _connect(self) -> http.client.HTTPResponse:
        headers = {"Accept-Encoding": "identity", "User-Agent": "scene-classifier"}
        if self.position:
            headers["Range"] = f"bytes={self.position}-"
        try:
            request = urllib.request.Request(self.url, headers=headers)
            return urllib.request.urlopen(request, timeout=self._timeout)
        except urllib.error.HTTPError as error:
            error.close()
            answer = f"the server answered {error.code} {error.reason}"
            if error.code in BUSY:
                raise ConnectionError(answer) from None
            raise AcquisitionError(f"Expected the archive at {self.url}, {answer}. {ADVICE}") from None
        except (ValueError, http.client.InvalidURL) as error:
            found = f"{self.url} ({error}). {ADVICE}"
            raise AcquisitionError(f"Expected a valid address, found {found}") from None

    def _begin(self, response: http.client.HTTPResponse) -> None:
        """Sees to it that the response is this file, and puts it to the position."""
        before, length = self.position, response.headers.get("Content-Length", "")
        if response.status == 206:
            span, _, length = response.headers.get("Content-Range", "").partition("/")
            if not span.startswith(f"bytes {self.position}-"):
                expected = f"the archive from byte {self.position} on"
                raise AcquisitionError(f"Expected {expected}, the server sent {span!r}. {ADVICE}")
            before = 0
        size = int(length) if length.isdigit() else None
        identity = [response.headers.get("ETag"), response.headers.get("Last-Modified"), size]
        if self.identity not in (None, identity):
            found = "found that it changed on the server"
            raise AcquisitionError(f"Expected one archive at {self.url}, {found}. {KEPT}")
        self.identity = identity
        while before:  # no ranges: pass over what was already read
            passed = len(response.read(min(CHUNK, before)))
            if not passed:
                raise ConnectionError("the connection ended early")
            before -= passed
