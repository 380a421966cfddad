"""A file on a web server, read by HTTP range requests; a request that fails is made again."""

import io
import itertools
import re
import time
from urllib.request import getproxies, proxy_bypass

import urllib3
from tqdm import tqdm
from urllib3.exceptions import HTTPError, ProtocolError

from data_prep_eda.archives import AcquisitionError

BUSY = (408, 425, 429, 500, 502, 503, 504)
REDIRECTS = urllib3.Retry(None, connect=False, read=False, other=False, redirect=9)  # all else: `_request`
ADVICE = "Check the address, or download the file and name it: --source sun09.tar."
KEPT = "What was found is kept. Run the command again to continue."
RETRIES = 6  # further attempts at a request
TIMEOUT = 30.0  # seconds without a byte that count as a stall
PAUSE = 1.0  # seconds before the second attempt; doubles with each further one


class WebFile(io.RawIOBase):
    """A reader for `io.BufferedReader`, of which each request fills the buffer.

    Attributes:
        url: http or https address.
        position: the byte that is read next.
        identity: entity tag, date and length, by which another version of the file is known.

    Raises:
        AcquisitionError: there is no such file, or another version of it by now; from reading, too.
    """

    def __init__(self, url: str) -> None:
        self.url, self.position, self.identity = url, 0, None
        scheme, _, host = url.split("/")[:3]
        proxy = None if proxy_bypass(host) else getproxies().get(scheme.rstrip(":"))
        settings = {"timeout": TIMEOUT, "retries": REDIRECTS}
        self._pool = urllib3.ProxyManager(proxy, **settings) if proxy else urllib3.PoolManager(**settings)
        self._request(1)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:
        """Reads what comes in one answer; returns the number of bytes, 0 at the end of the file."""
        size = min(len(buffer), self.identity[2] - self.position)
        content = self._request(size) if size > 0 else b""
        buffer[: len(content)] = content
        self.position += len(content)
        return len(content)

    def _request(self, size: int) -> bytes:
        """Some bytes from the position on, in as many attempts as it takes."""
        for attempt in itertools.count():
            try:
                return self._attempt(size)
            except ValueError as error:
                raise AcquisitionError(f"Expected an address, found {self.url} ({error}). {ADVICE}") from None
            except HTTPError as error:
                if attempt == RETRIES:
                    found = f"found no way on after {attempt} more attempts ({error.args[0]})"
                    raise AcquisitionError(f"Expected the archive from {self.url}, {found}. {KEPT}") from None
                wait = PAUSE * 2 ** min(attempt, 6)
                tqdm.write(f"Connection lost ({error.args[0]}); again in {wait:.0f} s.")
                time.sleep(wait)

    def _attempt(self, size: int) -> bytes:
        headers = {"Range": f"bytes={self.position}-{self.position + size - 1}"}
        with self._pool.request("GET", self.url, headers=headers, preload_content=False) as response:
            answer = f"the server answered {response.status} {response.reason}"
            if response.status in BUSY:
                raise ProtocolError(answer)
            span = response.headers.get("Content-Range", "")
            part = re.fullmatch(rf"bytes {self.position}-\d+/(\d{{1,18}})", span)
            if not part:
                raise AcquisitionError(f"Expected a part of {self.url} (HTTP Range), {answer}. {ADVICE}")
            identity = [response.headers.get("ETag"), response.headers.get("Last-Modified"), int(part[1])]
            if self.identity not in (None, identity):
                raise AcquisitionError(f"Expected one archive at {self.url}, found that it changed. {KEPT}")
            self.identity = identity
            if content := response.read(size, decode_content=False):
                return content
            raise ProtocolError("the connection ended early")
