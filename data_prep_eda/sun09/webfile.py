"""A file on a web server, read from front to back, that survives dropped connections."""

from __future__ import annotations

import http.client
import io
import string
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable

from data_prep_eda.sun09.sources import CHUNK, AcquisitionError


class WebFile(io.RawIOBase):
    """A reader that goes on where it was after a fault; wrap it in `io.BufferedReader`.

    It seeks forward only, by reading on and forgetting. After a fault it asks for the rest with an HTTP range
    request. A server without ranges sends the whole file again, and what was already read is passed over.

    Args:
        url: http or https address; spaces and letters outside ASCII are encoded.
        retries: attempts without any progress before giving up.
        timeout: seconds without a byte that count as a stall.
        pause: seconds before the first new attempt; doubles with each further one.
        say: called with a sentence when a connection is lost.

    Attributes:
        position: bytes read so far.
        length: bytes of the whole file; None if the server doesn't say.
        identity: what tells this version of the file from another: entity tag, date and length.
    """

    def __init__(
        self, url: str, retries: int = 6, timeout: float = 30.0, pause: float = 1.0, say: Callable = print
    ) -> None:
        super().__init__()
        # As browsers do; what is encoded already, and what has a meaning in an address, stays.
        self.url = urllib.parse.quote(url, safe=string.punctuation, errors="surrogateescape")
        self.position = 0
        self.length: int | None = None
        self.identity: dict[str, str | int | None] | None = None
        self._retries, self._timeout, self._pause, self._say = retries, timeout, pause, say
        self._failures = 0
        self._response: http.client.HTTPResponse | None = None

    def open(self, position: int = 0) -> None:
        """Connects, to read from a position on."""
        self._disconnect()
        self.position = position
        while self._response is None:
            try:
                self._connect()
            except (OSError, http.client.HTTPException) as error:
                self._lost(error)

    def readinto(self, buffer: memoryview) -> int:
        """Reads into a buffer; returns the number of bytes, 0 at the end of the file."""
        while True:
            try:
                if self._response is None:
                    self._connect()
                n = self._response.readinto(buffer)
                if n or self.length is None or self.position >= self.length:
                    self.position += n
                    self._failures = 0 if n else self._failures
                    return n
                raise ConnectionError("the connection ended early")
            except (OSError, http.client.HTTPException) as error:
                self._lost(error)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Passes over everything up to a position, or up to the end of the file.

        Raises:
            ValueError: the position lies behind.
        """
        distance = offset if whence == io.SEEK_CUR else offset - self.position
        if whence == io.SEEK_END or distance < 0:
            raise ValueError("a web file can only be read forward")
        waste = memoryview(bytearray(min(distance, CHUNK)))
        while distance > 0 and (n := self.readinto(waste[:distance])):
            distance -= n
        return self.position

    def close(self) -> None:
        """Ends the connection."""
        self._disconnect()
        super().close()

    def _disconnect(self) -> None:
        if self._response is not None:
            self._response.close()
            self._response = None

    def _connect(self) -> None:
        headers = {"Accept-Encoding": "identity", "User-Agent": "scene-classifier"}
        if self.position:
            headers["Range"] = f"bytes={self.position}-"
        try:
            response = urllib.request.urlopen(
                urllib.request.Request(self.url, headers=headers), timeout=self._timeout
            )
        except urllib.error.HTTPError as error:
            with error:
                if error.code in (408, 425, 429, 500, 502, 503, 504):
                    raise ConnectionError(f"the server answered {error.code} {error.reason}") from None
                raise AcquisitionError(
                    f"Expected the SUN 09 archive at {self.url}, the server answered {error.code} "
                    f"{error.reason}. Check the address, or name a copy available: --source sun09.tar."
                ) from None
        except (ValueError, http.client.InvalidURL) as error:
            raise AcquisitionError(
                f"Expected a valid address, found {self.url} ({error}). Check it, or name a copy available: "
                f"--source sun09.tar."
            ) from None
        start, length = 0, response.headers.get("Content-Length")
        length = int(length) if length and length.isdigit() else None
        if response.status == 206:
            content_range = response.headers.get("Content-Range", "")
            try:
                span, total = content_range.removeprefix("bytes ").split("/")
                start = int(span.split("-")[0])
                length = int(total) if total.isdigit() else None
            except ValueError:
                start = -1
            if start != self.position:
                response.close()
                raise AcquisitionError(
                    f"Expected the archive from byte {self.position} on, the server sent {content_range!r}. "
                    f"Download the archive with another program and name it: --source sun09.tar."
                )
        identity = {
            "etag": response.headers.get("ETag"),
            "modified": response.headers.get("Last-Modified"),
            "length": length,
        }
        if self.identity is not None and identity != self.identity:
            response.close()
            raise AcquisitionError(
                f"Expected one archive at {self.url}, found that it changed on the server while it was being "
                f"read. What was found is kept. Run the command again."
            )
        if start == 0 and length != 0 and "html" in response.headers.get("Content-Type", "").lower():
            response.close()
            raise AcquisitionError(
                f"Expected a tar archive at {self.url}, the server sent a web page. Open the address in a "
                f"browser to see what it says, or name a copy available: --source sun09.tar."
            )
        self.identity, self.length = identity, length
        while start < self.position:  # no ranges: pass over what was already read
            passed = response.read(min(CHUNK, self.position - start))
            if not passed:
                response.close()
                raise ConnectionError("the connection ended early")
            start += len(passed)
        self._response = response

    def _lost(self, error: Exception) -> None:
        """Waits before the next attempt, longer each time; raises when there were enough."""
        self._disconnect()
        self._failures += 1
        reason = getattr(error, "reason", None) or error
        if self._failures > self._retries:
            place = f" at {self.position / 1e9:.2f} GB" if self.position else ""
            raise AcquisitionError(
                f"Expected the archive from {self.url}, found no way on{place} after {self._retries} more "
                f"attempts ({reason}). What was found is kept. Run the command again to continue."
            ) from None
        wait = min(self._pause * 2 ** (self._failures - 1), 60)
        self._say(f"Connection lost at {self.position / 1e6:,.0f} MB ({reason}); again in {wait:.0f} s.")
        time.sleep(wait)
