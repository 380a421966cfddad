"""A file on a web server, read from front to back, that survives dropped connections."""

from __future__ import annotations

import functools
import http.client
import io
import string
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable

from data_prep_eda.sun09.sources import BLOCK, CHUNK, AcquisitionError

BUSY = (408, 425, 429, 500, 502, 503, 504)
ANOTHER = "or name a copy available: --source sun09.tar."


class WebFile(io.RawIOBase):
    """A reader that goes on where it was after a fault; wrap it in `io.BufferedReader`.

    After a fault it asks for the rest with an HTTP range request. A server without ranges sends the whole file again,
    and what was already read is passed over.

    Args:
        url: http or https address; spaces and letters outside ASCII are encoded.
        position: byte to begin with.
        identity: entity tag, date and length of the version to go on with; None for any.
        retries: attempts without any progress before giving up.
        timeout: seconds without a byte that count as a stall.
        pause: seconds before the first new attempt; doubles with each further one.
        say: called with a sentence when a connection is lost.

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
        say: Callable[[str], None] = print,
    ) -> None:
        super().__init__()
        # As browsers do; what is encoded already, and what has a meaning in an address, stays.
        self.url = urllib.parse.quote(url, safe=string.punctuation, errors="surrogateescape")
        self.position, self.identity = position, identity
        self._retries, self._timeout, self._pause, self._say = retries, timeout, pause, say
        self._failures = 0
        self._response: http.client.HTTPResponse | None = None
        self._persist(self._connect)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        """Reads into a buffer what has come, a block at least; returns the number of bytes, 0 at the end of the file."""
        rest = memoryview(buffer)
        while len(buffer) - len(rest) < BLOCK and (
            n := self._persist(functools.partial(self._receive, rest))
        ):
            rest = rest[n:]
        return len(buffer) - len(rest)

    def close(self) -> None:
        self._disconnect()
        super().close()

    def _disconnect(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None

    def _persist(self, attempt: Callable[[], int | None]) -> int | None:
        """Makes an attempt until it succeeds, with longer and longer pauses; raises when there were enough."""
        while True:
            try:
                return attempt()
            except (OSError, http.client.HTTPException) as error:
                self._disconnect()
                self._failures += 1
                reason = getattr(error, "reason", None) or error
            if self._failures > self._retries:
                place = f" at {self.position / 1e9:.2f} GB" if self.position else ""
                raise AcquisitionError(
                    f"Expected the archive from {self.url}, found no way on{place} after {self._retries} more "
                    f"attempts ({reason}). What was found is kept. Run the command again to continue."
                )
            wait = min(self._pause * 2 ** (self._failures - 1), 60)
            self._say(f"Connection lost at {self.position / 1e6:,.0f} MB ({reason}); again in {wait:.0f} s.")
            time.sleep(wait)

    def _receive(self, buffer: memoryview) -> int:
        if self._response is None:
            self._connect()
        n = self._response.readinto(buffer)
        if not n and self.position < (self.identity[2] or 0):
            raise ConnectionError("the connection ended early")
        self.position += n
        self._failures = 0 if n else self._failures
        return n

    def _connect(self) -> None:
        headers = {"Accept-Encoding": "identity", "User-Agent": "scene-classifier"}
        if self.position:
            headers["Range"] = f"bytes={self.position}-"
        try:
            request = urllib.request.Request(self.url, headers=headers)
            response = urllib.request.urlopen(request, timeout=self._timeout)
        except urllib.error.HTTPError as error:
            with error:
                if error.code in BUSY:
                    raise ConnectionError(f"the server answered {error.code} {error.reason}") from None
                raise AcquisitionError(
                    f"Expected the SUN 09 archive at {self.url}, the server answered {error.code} "
                    f"{error.reason}. Check the address, {ANOTHER}"
                ) from None
        except (ValueError, http.client.InvalidURL) as error:
            raise AcquisitionError(
                f"Expected a valid address, found {self.url} ({error}). Check it, {ANOTHER}"
            ) from None
        try:
            self._check(response)
        except BaseException:
            response.close()
            raise
        self._response = response

    def _check(self, response: http.client.HTTPResponse) -> None:
        """Sees to it that the response is this file, from the position on."""
        start, length = 0, response.headers.get("Content-Length", "")
        if response.status == 206:
            span, _, length = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("/")
            start = int(span.split("-")[0]) if span.split("-")[0].isdigit() else -1
            if start != self.position:
                raise AcquisitionError(
                    f"Expected the archive from byte {self.position} on, the server sent {span!r}. Download the "
                    f"archive with another program and name it: --source sun09.tar."
                )
        length = int(length) if length.isdigit() else None
        identity = [response.headers.get("ETag"), response.headers.get("Last-Modified"), length]
        if self.identity is not None and identity != self.identity:
            raise AcquisitionError(
                f"Expected one archive at {self.url}, found that it changed on the server while it was being "
                f"read. What was found is kept. Run the command again."
            )
        if start == 0 and length != 0 and "html" in response.headers.get("Content-Type", "").lower():
            raise AcquisitionError(
                f"Expected a tar archive at {self.url}, the server sent a web page. Open the address in a "
                f"browser to see what it says, {ANOTHER}"
            )
        self.identity = identity
        while start < self.position:  # no ranges: pass over what was already read
            passed = len(response.read(min(CHUNK, self.position - start)))
            if not passed:
                raise ConnectionError("the connection ended early")
            start += passed
