"""Fetches an image that a stranger names by URL, without letting the stranger reach anything inside.

The rules: http and https on their usual ports; the name is resolved once, every address it has must be
public, and the connection goes to that very address (so a second look-up cannot answer differently);
redirects start over with the same rules; bytes are capped while they arrive; one deadline covers everything
from the first look-up to the last byte. No proxy, cookie, password or `.netrc` is ever used.

Built on `http.client` and `ipaddress`. The best established library for this, requests-hardened 1.3,
resolves, checks and pins well, but caps neither bytes nor the time of the whole exchange, accepts any port,
and pins the first address without looking at the others; what it leaves out is most of this file. It also
brings requests and four more packages, which would take as long to import as everything else.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import socket
import ssl
import threading
import time
import urllib.parse
from functools import cache

from containerize_deploy.settings import Policy, ascii_host
from data_prep_eda.preprocessing import MAX_BYTES

MAX_REDIRECTS = 5
DEADLINE_S = 10.0  # for the whole exchange, redirects included
PORTS = {"http": 80, "https": 443}  # others are other services, and mail or databases are no images
LONGEST_URL = 8192  # characters; presigned S3 addresses have 2,300

# All public IPv6 addresses (IANA); loopback, link-local, site-local, IPv4-mapped and NAT64 lie outside.
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
# What `ipaddress` calls global on some of the Pythons we run on, and what leads inside all the same.
_NOT_PUBLIC = tuple(
    ipaddress.ip_network(network)
    for network in (
        "100.64.0.0/10",  # carrier-grade NAT, and inside clouds
        "192.0.0.0/24",  # protocol assignments
        "192.88.99.0/24",  # 6to4 relays
        "224.0.0.0/4",  # multicast
        "2001::/23",  # protocol assignments: Teredo, ORCHID, benchmarking
        "2002::/16",  # 6to4: an IPv4 address in disguise
        "3fff::/20",  # documentation
    )
)


class FetchError(Exception):
    """A URL whose image cannot be had.

    Attributes:
        reason: `malformed` (not a usable URL), `not_allowed` (leads where this service does not go),
            `too_large`, `upstream_failed` or `upstream_slow`.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def is_public(address: str) -> bool:
    """Whether an IP address is one that anybody on the internet could reach."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    if ip.version == 6 and (ip.scope_id is not None or ip not in _GLOBAL_UNICAST):
        return False
    return ip.is_global and not any(ip in network for network in _NOT_PUBLIC if network.version == ip.version)


def fetch(
    url: str,
    policy: Policy | None = None,
    *,
    deadline_s: float = DEADLINE_S,
    max_bytes: int = MAX_BYTES,
) -> bytes:
    """Fetches what a URL points to.

    Args:
        url: absolute http or https URL.
        policy: what is allowed; the default allows every public host.
        deadline_s: seconds for everything together.
        max_bytes: the longest body that is taken.

    Returns:
        The body. What it claims to be is not looked at; the decoder finds out.

    Raises:
        FetchError: with the reason.
    """
    policy = policy or Policy()
    if not policy.enabled:
        raise FetchError("not_allowed", "Fetching from URLs is switched off here; send the image itself.")
    ends_at = time.monotonic() + deadline_s
    for redirects in range(MAX_REDIRECTS + 1):
        try:
            body, location = _exchange(url, policy, ends_at, max_bytes)
        except FetchError as error:
            if redirects and error.reason == "malformed":  # not the caller's mistake
                raise FetchError(
                    "upstream_failed", "The address redirects to something that is no URL."
                ) from None
            raise
        if location is None:
            return body
        try:
            url = urllib.parse.urljoin(url, _as_browsers_read(location))
        except ValueError:
            raise FetchError(
                "upstream_failed", "The address redirects to something that is no URL."
            ) from None
    raise FetchError("upstream_failed", f"The address redirects more than {MAX_REDIRECTS} times.")


def _as_browsers_read(location: str) -> str:
    """A Location header: its bytes are UTF-8, or else are escaped one by one, and a space is a slip."""
    raw = location.strip().encode("latin-1")  # as http.client decodes headers
    try:
        location = raw.decode()
    except UnicodeDecodeError:
        location = urllib.parse.quote(raw, safe=bytes(range(0x21, 0x7F)))
    return location.replace(" ", "%20")


def _exchange(url: str, policy: Policy, ends_at: float, max_bytes: int) -> tuple[bytes, str | None]:
    """One request: the body and None, or nothing and where it redirects to."""
    scheme, host, port, target = _parse(url)
    if not policy.allows(host):
        raise FetchError("not_allowed", "The host of this address is not on this service's list.")
    address = _resolve(host, port, ends_at)
    connection = _PinnedConnection(scheme, host, port, address, _left(ends_at))
    # A socket's own timeout starts anew with every byte, so a server that drips could hold on for ever.
    watchdog = threading.Timer(_left(ends_at), connection.abort)
    watchdog.daemon = True
    watchdog.start()
    try:
        connection.request(
            "GET",
            target,
            headers={"User-Agent": policy.user_agent, "Accept": "image/*", "Accept-Encoding": "identity"},
        )
        response = connection.getresponse()
        if response.status in (301, 302, 303, 307, 308):
            location = response.getheader("Location")
            if not location:
                raise FetchError("upstream_failed", "The address redirects without saying where to.")
            return b"", location
        if response.status != 200:
            raise FetchError("upstream_failed", f"The address answered with HTTP status {response.status}.")
        body = _read(response, max_bytes, ends_at)
    except FetchError:
        raise
    except Exception as error:  # sockets, TLS and HTTP each raise their own
        if isinstance(error, TimeoutError) or time.monotonic() >= ends_at:
            raise _slow() from None
        if isinstance(error, ssl.SSLCertVerificationError):
            raise FetchError("upstream_failed", "The address has no valid certificate.") from None
        raise FetchError("upstream_failed", "The connection to the address failed.") from None
    finally:
        watchdog.cancel()
        connection.close()
    return body, None


def _read(response: http.client.HTTPResponse, max_bytes: int, ends_at: float) -> bytes:
    """The body, given up as soon as it is, or says it is, longer than allowed."""
    too_large = FetchError("too_large", f"The image is larger than {max_bytes / 1e6:.0f} MB.")
    if response.length is not None and response.length > max_bytes:
        raise too_large
    announced = response.length
    body = bytearray()
    while chunk := response.read1(65536):
        body += chunk
        if len(body) > max_bytes:
            raise too_large
        _left(ends_at)
    if time.monotonic() >= ends_at:  # the watchdog's cut looks like the end of the body
        raise _slow()
    if announced is not None and len(body) < announced:
        raise FetchError("upstream_failed", "The connection to the address broke off.")
    return bytes(body)


def _parse(url: str) -> tuple[str, str, int, str]:
    """Scheme, host as DNS knows it, port, and path with query."""
    if not isinstance(url, str) or not 0 < len(url) <= LONGEST_URL:
        raise FetchError("malformed", f"Expected a URL of 1 to {LONGEST_URL} characters.")
    if any(character <= " " or character in "\\\x7f" for character in url):
        raise FetchError("malformed", "The URL has a space, a backslash or a control character in it.")
    if any("\ud800" <= character <= "\udfff" for character in url):
        raise FetchError("malformed", "The URL has half a character in it (a lone surrogate).")
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port
        host = parts.hostname or ""
        if "[" in parts.netloc:
            ipaddress.IPv6Address(host)
        elif parts.scheme in PORTS:
            host = ascii_host(host)
    except ValueError:  # UnicodeError is one
        raise FetchError("malformed", "The URL cannot be parsed.") from None
    if parts.scheme not in PORTS:
        raise FetchError("not_allowed", "Only http and https addresses are fetched.")
    if "%" in host:  # no zones in addresses
        raise FetchError("malformed", "The URL names no usable host.")
    if parts.username is not None or parts.password is not None:
        raise FetchError("malformed", "The URL carries a user name or a password; send it without.")
    if port is None:
        port = PORTS[parts.scheme]
    if port not in PORTS.values():
        raise FetchError("not_allowed", "Only the usual ports, 80 and 443, are fetched from.")
    path = urllib.parse.quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    query = urllib.parse.quote(parts.query, safe="/?%:@!$&'()*+,;=~-._[]")
    return parts.scheme, host, port, f"{path}?{query}" if query else path


def _resolve(host: str, port: int, ends_at: float) -> str:
    """Looks the host up, once, and returns the address to connect to.

    All of the host's addresses must be public: a name with one foot inside is a mistake or an attack.
    """
    found: list[str] = []
    failure: list[Exception] = []

    def look_up() -> None:
        try:
            entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            found.extend(entry[4][0] for entry in entries)
        except Exception as error:  # also UnicodeError, for labels that DNS does not take
            failure.append(error)

    # The resolver has no timeout of its own that we could set, hence the thread.
    thread = threading.Thread(target=look_up, daemon=True)
    thread.start()
    thread.join(_left(ends_at))
    if thread.is_alive():
        raise _slow()
    if failure or not found:
        raise FetchError("upstream_failed", "The host of the address was not found.")
    if not all(is_public(address) for address in found):
        raise FetchError("not_allowed", "The address is not on the public internet.")
    # Lambda outside a VPC, and most VPCs, have no IPv6 route: prefer IPv4.
    return min(found, key=lambda address: ":" in address)


def _left(ends_at: float) -> float:
    left = ends_at - time.monotonic()
    if left <= 0:
        raise _slow()
    return left


def _slow() -> FetchError:
    return FetchError("upstream_slow", "The address took too long to answer.")


class _FinalResponse(http.client.HTTPResponse):
    """The response after interim ones, like 102 and 103; http.client itself passes over 100 only."""

    def begin(self) -> None:
        """Reads status and headers."""
        super().begin()
        while 100 <= self.status < 200:
            self.headers = None  # or it would not begin anew
            super().begin()


class _PinnedConnection(http.client.HTTPConnection):
    """An HTTP connection to an address that has been checked, under the name that it was asked for."""

    def __init__(self, scheme: str, host: str, port: int, address: str, timeout: float) -> None:
        self.default_port = PORTS[scheme]  # leaves the port out of the Host header where it is the usual one
        self.response_class = _FinalResponse
        super().__init__(f"[{host}]" if ":" in host else host, port, timeout=timeout)
        self._address = (address, port)
        self._server_name = host if scheme == "https" else None
        self._wire: socket.socket | None = None  # `sock`, also once http.client has let go of it

    def connect(self) -> None:
        """Connects to the pinned address; for https with the certificate checked against the name."""
        self.sock = self._wire = socket.create_connection(self._address, self.timeout)
        if self._server_name is not None:
            # The handshake comes after the assignment, so that `abort` can end it too.
            self.sock = self._wire = _tls().wrap_socket(
                self.sock, server_hostname=self._server_name, do_handshake_on_connect=False
            )
            self.sock.do_handshake()

    def abort(self) -> None:
        """Ends whatever the connection is doing, from another thread."""
        if self._wire is not None:
            with contextlib.suppress(OSError):
                # The plain socket's shutdown: the TLS one's would first say goodbye to the server.
                socket.socket.shutdown(self._wire, socket.SHUT_RDWR)


@cache
def _tls() -> ssl.SSLContext:
    """Certificates checked and TLS 1.2 at least; made once, since reading the authorities takes a while."""
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context
