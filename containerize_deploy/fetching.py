"""Fetches an image that a stranger names by URL, without letting the stranger reach anything inside.

A name is resolved once, all its addresses must be public, and the connection goes to one of those very addresses (so
a second look-up cannot answer differently); redirects start over with the same rules; bytes, requests and the time of
it all are capped. No proxy, cookie, password or `.netrc` is ever used. requests-hardened, the best established library
for this, caps neither bytes nor all the time, takes any port, and pins the first address whatever the others are.
"""

import contextlib
import http.client
import ipaddress
import socket
import ssl
import threading
import time
import urllib.parse
import zlib
from dataclasses import dataclass, field
from functools import cache

from containerize_deploy.answers import ServiceError
from containerize_deploy.settings import Policy, ascii_host
from data_prep_eda.preprocessing import MAX_BYTES

MAX_REDIRECTS = 5
DEADLINE_S = 10.0  # for the whole exchange, redirects included
PORTS = {"http": 80, "https": 443}  # others are other services, and mail or databases are no images
LONGEST_URL = 8192  # characters as they are sent; presigned S3 addresses have 2,300
MAX_REQUESTS = 48  # of one event: 16 images, each behind two redirects
MAX_SENT = 65_536  # bytes of an event's requests, headers included: 16 presigned addresses have 41,000
MAX_ADDRESSES = 3  # of a host that are tried
CONNECT_S = 2.5  # to connect, where the host has another address
MAX_INTERIM = 20  # answers like 103 before the one that counts
MAX_PIECES = 50_000  # that a body arrives in: 20 MB at 400 bytes each; a piece costs 3 microseconds
SLOW = "upstream_slow", "The address took too long to answer."

# All public IPv6 addresses (IANA); loopback, link-local, site-local, IPv4-mapped and NAT64 lie outside.
_GLOBAL_UNICAST = ipaddress.ip_network("2000::/3")
# What `ipaddress` calls global on some of the Pythons we run on, and what leads inside all the same.
_NOT_PUBLIC = (
    ipaddress.ip_network("100.64.0.0/10"),  # carrier-grade NAT, and inside clouds
    ipaddress.ip_network("192.0.0.0/24"),  # protocol assignments
    ipaddress.ip_network("192.88.99.0/24"),  # 6to4 relays
    ipaddress.ip_network("224.0.0.0/4"),  # multicast
    ipaddress.ip_network("2001::/23"),  # protocol assignments: Teredo, ORCHID, benchmarking
    ipaddress.ip_network("2002::/16"),  # 6to4: an IPv4 address in disguise
    ipaddress.ip_network("3fff::/20"),  # documentation
)


def is_public(address: str) -> bool:
    """Whether an IP address is one that anybody on the internet could reach."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    is_unicast = ip.version == 4 or (ip.scope_id is None and ip in _GLOBAL_UNICAST)
    return is_unicast and ip.is_global and not any(ip in network for network in _NOT_PUBLIC)


@dataclass
class Budget:
    """What one event may still send to strangers, however many URLs it has and wherever they redirect."""

    requests: int = MAX_REQUESTS
    size: int = MAX_SENT  # bytes of them together
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def spend(self, size: int) -> None:
        """Takes off a request of `size` bytes; raises a ServiceError if there isn't so much left."""
        with self._lock:
            if self.requests < 1 or self.size < size:
                raise ServiceError("too_large", "Fetching takes too many or too long requests; send fewer.")
            self.requests -= 1
            self.size -= size


def fetch(
    url: str, policy: Policy | None = None, *, budget: Budget | None = None, deadline_s: float = DEADLINE_S
) -> bytes:
    """Fetches what a URL points to, up to `MAX_BYTES`; what that claims to be is not looked at.

    Every public host is allowed by default. An event's URLs share a budget. No deadline is longer than `DEADLINE_S`.

    Raises:
        ServiceError: the URL is not allowed, or fetching it failed.
    """
    policy, budget = policy or Policy(), budget or Budget()
    if not policy.enabled:
        raise ServiceError("not_allowed", "Fetching from URLs is switched off here; send the image itself.")
    ends_at = time.monotonic() + min(deadline_s, DEADLINE_S)
    for redirects in range(MAX_REDIRECTS + 1):
        try:
            body, location = _exchange(url, policy, budget, ends_at)
            if not location:
                return body
            raw = location.encode("latin-1")  # as http.client decodes headers
            try:
                location = raw.decode().replace(" ", "%20")  # browsers take a space for a slip
            except UnicodeDecodeError:
                location = urllib.parse.quote(raw, safe=bytes(range(0x21, 0x7F)))
            url = urllib.parse.urljoin(url, location)
        except (ServiceError, ValueError) as error:
            if isinstance(error, ServiceError) and (not redirects or error.code != "malformed"):
                raise
            raise ServiceError("upstream_failed", "The address redirects to what is no usable URL.") from None
    raise ServiceError("upstream_failed", f"The address redirects more than {MAX_REDIRECTS} times.")


def _exchange(url: str, policy: Policy, budget: Budget, ends_at: float) -> tuple[bytes, str]:
    """One request: the body, or where it redirects to."""
    scheme, host, port, target = _parse(url)
    if not policy.allows(host):
        raise ServiceError("not_allowed", "The host of this address is not on this service's list.")
    connection = _PinnedConnection(scheme, host, port, budget, ends_at)
    # A socket's own timeout starts anew with every byte, so a server that drips could hold on for ever.
    watchdog = threading.Timer(_left(ends_at), connection.abort)
    watchdog.daemon = True
    watchdog.start()
    try:
        asked = {"Accept": "image/*", "Accept-Encoding": "identity", "Connection": "close"}
        connection.request("GET", target, headers={"User-Agent": policy.user_agent, **asked})
        response = connection.getresponse()
        if response.status in (301, 302, 303, 307, 308):
            locations = {location.strip() for location in response.headers.get_all("Location", [])}
            if len(locations) != 1 or "" in locations:
                raise ServiceError("upstream_failed", "The address redirects without naming one place to go.")
            return b"", locations.pop()
        if response.status != 200:
            raise ServiceError("upstream_failed", f"The address answered with HTTP status {response.status}.")
        return _read(response, ends_at), ""
    except ServiceError:
        raise
    except Exception as error:  # sockets, TLS and HTTP each raise their own
        if isinstance(error, TimeoutError) or time.monotonic() >= ends_at:
            raise ServiceError(*SLOW) from None
        if isinstance(error, ssl.SSLCertVerificationError):
            raise ServiceError("upstream_failed", "The address has no valid certificate.") from None
        raise ServiceError("upstream_failed", "The connection to the address failed.") from None
    finally:
        watchdog.cancel()
        connection.close()


def _read(response: http.client.HTTPResponse, ends_at: float) -> bytes:
    """The body, unpacked, and given up as soon as it is, or says it is, longer than allowed."""
    named = response.getheader("Content-Encoding", "").lower().split(",")
    codings = [name for name in map(str.strip, named) if name not in ("", "identity")]
    chunking = response.getheader("Transfer-Encoding", "chunked").strip().lower()
    if len(codings) > 1 or not {"gzip", "x-gzip", "deflate"} >= set(codings) or chunking != "chunked":
        raise ServiceError("upstream_failed", "The address sends the image encoded, though asked not to.")
    announced = response.length or 0
    _check_size(announced)
    body = bytearray()
    for _ in range(MAX_PIECES):
        if not (piece := response.read1(65536)):
            break
        body += piece
        _check_size(len(body))
    else:
        raise ServiceError("upstream_failed", "The address sends the image in too many pieces.")
    _left(ends_at)  # the watchdog's cut looks like the end of the body
    if len(body) < announced:
        raise ServiceError("upstream_failed", "The connection to the address broke off.")
    if not codings:
        return bytes(body)
    for window in (47, -15):  # zlib's words for a header of gzip or zlib, and for none, as some send deflate
        decoder = zlib.decompressobj(window)
        with contextlib.suppress(zlib.error):
            content = decoder.decompress(body, MAX_BYTES + 1)
            _check_size(len(content))
            if decoder.eof:
                return content
    raise ServiceError("upstream_failed", "The address sends the image compressed, and damaged.")


def _check_size(size: int) -> None:
    if size > MAX_BYTES:
        raise ServiceError("too_large", f"The image is larger than {MAX_BYTES // 1_000_000} MB.")


def _parse(url: str) -> tuple[str, str, int, str]:
    """Scheme, host as DNS knows it, port, and path with query."""
    _check_length(len(url))
    if any(letter <= " " or letter in "\\\x7f" or "\ud800" <= letter <= "\udfff" for letter in url):
        raise ServiceError("malformed", "The URL has a space, a backslash or a control character in it.")
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port
        host = parts.hostname or ""
        if "[" in parts.netloc:
            ipaddress.IPv6Address(host)
        elif parts.scheme in PORTS:
            host = ascii_host(host)
    except ValueError:  # UnicodeError is one
        raise ServiceError("malformed", "The URL cannot be parsed.") from None
    port = PORTS.get(parts.scheme) if port is None else port
    if parts.scheme not in PORTS or port not in PORTS.values():
        raise ServiceError("not_allowed", "Only http and https on their ports, 80 and 443, are fetched.")
    if "%" in host or parts.username is not None or parts.password is not None:
        raise ServiceError("malformed", "The URL has a zone, a user name or a password; send it without.")
    path = urllib.parse.quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
    query = urllib.parse.quote(parts.query, safe="/?%:@!$&'()*+,;=~-._[]")
    target = f"{path}?{query}" if query else path
    _check_length(len(f"{parts.scheme}://{host}{target}"))  # a letter outside ASCII takes six to twelve
    return parts.scheme, host, port, target


def _check_length(characters: int) -> None:
    if not 0 < characters <= LONGEST_URL:
        raise ServiceError("malformed", f"Expected a URL of 1 to {LONGEST_URL} characters, as it is sent.")


def _resolve(host: str, port: int, ends_at: float) -> list[str]:
    """The host's addresses to try, in order; all must be public, since one inside is a mistake or an attack."""
    addresses: list[str] = []

    def look_up() -> None:
        with contextlib.suppress(OSError, UnicodeError):  # the latter for labels that DNS does not take
            entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            addresses.extend(entry[4][0] for entry in entries)

    thread = threading.Thread(target=look_up, daemon=True)  # since the resolver takes no timeout
    thread.start()
    thread.join(_left(ends_at))
    _left(ends_at)  # nothing, where the look-up still goes on
    if not addresses:
        raise ServiceError("upstream_failed", "The host of the address was not found.")
    if not all(is_public(address) for address in addresses):
        raise ServiceError("not_allowed", "The address is not on the public internet.")
    # Lambda outside a VPC, and most VPCs, have no IPv6 route: prefer IPv4.
    return sorted(dict.fromkeys(addresses), key=lambda address: ":" in address)[:MAX_ADDRESSES]


def _left(ends_at: float) -> float:
    """Seconds that are left."""
    left = ends_at - time.monotonic()
    if left <= 0:
        raise ServiceError(*SLOW)
    return left


class _FinalResponse(http.client.HTTPResponse):
    """The response after interim ones; http.client itself passes over 100 only, and over any number of them."""

    _interim = 0

    def _read_status(self) -> tuple[str, int, str]:
        version, status, reason = super()._read_status()
        if status < 200 and status != http.client.SWITCHING_PROTOCOLS:
            self._interim += 1
            if self._interim > MAX_INTERIM:
                raise ServiceError("upstream_failed", "The address sends interim answers only.")
            status = http.client.CONTINUE
        return version, status, reason


class _PinnedConnection(http.client.HTTPConnection):
    """An HTTP connection to addresses that have been checked, under the name that they were asked for."""

    def __init__(self, scheme: str, host: str, port: int, budget: Budget, ends_at: float) -> None:
        self._addresses = _resolve(host, port, ends_at)
        self.default_port = PORTS[scheme]  # leaves the port out of the Host header where it is the usual one
        self.response_class = _FinalResponse
        super().__init__(f"[{host}]" if ":" in host else host, port)
        self._budget, self._ends_at = budget, ends_at
        self._server_name = host if scheme == "https" else None
        self._wire: socket.socket | None = None  # `sock`, also once http.client has let go of it

    def send(self, data: bytes) -> None:
        """Sends a request, if that is within the budget."""
        self._budget.spend(len(data))
        super().send(data)

    def connect(self) -> None:
        """Connects to the first address that lives; for https with the certificate checked against the name."""
        for address in self._addresses:
            left, last = _left(self._ends_at), address == self._addresses[-1]
            timeout = left if last else min(left / 2, CONNECT_S)
            try:
                self.sock = self._wire = socket.create_connection((address, self.port), timeout)
                break
            except OSError:
                if last:
                    raise
        self.sock.settimeout(_left(self._ends_at))
        if self._server_name is not None:
            # The handshake comes after the assignment, so that `abort` can end it too.
            name = {"server_hostname": self._server_name}
            self.sock = self._wire = _tls().wrap_socket(self.sock, do_handshake_on_connect=False, **name)
            self.sock.do_handshake()

    def abort(self) -> None:
        """Ends whatever the connection is doing, from another thread."""
        if self._wire is not None:
            with contextlib.suppress(OSError):
                # The plain socket's: the TLS one's would first say goodbye to the server.
                socket.socket.shutdown(self._wire, socket.SHUT_RDWR)


# Certificates are checked; made once, since reading the authorities takes a while.
_tls = cache(ssl.create_default_context)
