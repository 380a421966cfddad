"""URLs of strangers: what is fetched, what is refused, and that a refusal never touches the network."""

import contextlib
import datetime
import gzip
import http.server
import ipaddress
import socket
import ssl
import threading
import time
import zlib

import pytest

from containerize_deploy import fetching
from containerize_deploy.answers import ServiceError
from containerize_deploy.fetching import Budget, fetch, is_public
from containerize_deploy.settings import Policy

PHOTOGRAPH = b"\xff\xd8 pretend this is a JPEG " * 1000
OK = b"HTTP/1.1 200 OK\r\n"
CRUMBS = OK + b"Transfer-Encoding: chunked\r\n\r\n"

# What an address sends, byte for byte.
SENT = {
    "missing": b"HTTP/1.1 404 Not Found\r\n\r\n",
    "broken": OK + b"Content-Length: 100000\r\n\r\nonly this much",
    "gibberish": b"SSH-2.0-OpenSSH_9.9\r\n",
    "huge": OK + b"Content-Length: 1000000000000\r\n\r\n",
    "interim": b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK + b"\r\n" + PHOTOGRAPH,
    "far": b"HTTP/1.1 302 Found\r\nLocation: /far?" + b"x" * 8000 + b"\r\n\r\n",
    "longer": b"HTTP/1.1 302 Found\r\nLocation: /photo?" + b"x" * 9000 + b"\r\n\r\n",
    "crumbs": CRUMBS + b"".join(b"1\r\n%c\r\n" % byte for byte in PHOTOGRAPH) + b"0\r\n\r\n",
    "more_crumbs": CRUMBS + b"1\r\nx\r\n" * 60_000 + b"0\r\n\r\n",
    **{
        name: OK + f"Content-Encoding: {coding}\r\n\r\n".encode() + body
        for name, coding, body in (
            ("gzip", "gzip", gzip.compress(PHOTOGRAPH)),
            ("deflate", "deflate", zlib.compress(PHOTOGRAPH)),
            ("deflate_without_header", "Deflate", zlib.compress(PHOTOGRAPH, wbits=-15)),
            ("gzip_cut", "gzip", gzip.compress(PHOTOGRAPH)[:-20]),
            ("gzip_lie", "gzip", PHOTOGRAPH),
            ("gzip_bomb", "gzip", gzip.compress(bytes(50_000_000))),
            ("gzip_twice", "gzip, gzip", gzip.compress(gzip.compress(PHOTOGRAPH))),
            ("brotli", "br", PHOTOGRAPH),
        )
    },
}  # fmt: skip
# What an address sends first, then again and again, and how long it waits in between, in seconds.
REPEATED = {
    "endless": (OK + b"\r\n", b"x" * 65536, 0),
    "drip": (OK + b"\r\n", b"x", 0.05),  # keeps a socket's own timeout from ever striking
    "drip_headers": (OK, b"X-More: yes\r\n", 0.05),
    "mute": (b"", b"", 0.05),
    "switching": (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", b"", 0.05),
    "interim_only": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, 0),
}


class PhotoHost(http.server.BaseHTTPRequestHandler):
    """A web server with a photograph and with bad habits, each under a path of its own."""

    def do_GET(self):
        self.server.requests.append((self.path, self.headers["Host"]))
        self.server.received += len(self.raw_requestline) + len(bytes(self.headers))
        name = self.path.split("?")[0].strip("/").split("/")[0] or "photo"
        with contextlib.suppress(OSError):  # the client hangs up on the worst of these
            if name in SENT:
                self.wfile.write(SENT[name])
            elif name in REPEATED:
                start, again, pause = REPEATED[name]
                self.wfile.write(start)
                while not self.server.closing.wait(pause):
                    self.wfile.write(again)
            else:
                getattr(self, name)()

    def photo(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")  # a lie, and of no consequence
        self.send_header("Content-Length", str(len(PHOTOGRAPH)))
        self.end_headers()
        self.wfile.write(PHOTOGRAPH)

    def redirect(self):
        """`/redirect/3` redirects three times, then to the photograph."""
        left = int(self.path.rsplit("/", 1)[1])
        self.to(f"/redirect/{left - 1}" if left > 1 else "/photo")

    def raw(self):
        """`/raw/<hex>` redirects to these very bytes."""
        self.wfile.write(b"HTTP/1.1 302 Found\r\nLocation: " + bytes.fromhex(self.path[5:]) + b"\r\n\r\n")

    def to(self, location=None):
        self.send_response(302)
        self.send_header("Location", location or self.path.split("?to=", 1)[1])
        self.end_headers()

    def log_message(self, *arguments):
        pass


@contextlib.contextmanager
def serving(context: ssl.SSLContext | None = None):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), PhotoHost)
    server.requests, server.received, server.closing = [], 0, threading.Event()
    if context:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield server
    server.closing.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def names(monkeypatch) -> dict[str, list[str]]:
    """Host names and their addresses, in place of DNS; every look-up is counted under `lookups`."""
    table: dict[str, list[str]] = {"lookups": []}
    real = socket.getaddrinfo

    def getaddrinfo(host, port, *arguments, **options):
        if host not in table:
            return real(host, port, *arguments, **options)
        table["lookups"].append(host)
        return [entry for address in table[host] for entry in real(address, port, *arguments, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return table


@pytest.fixture
def host(monkeypatch, names):
    """A public host called photos.example. In truth it is here, so here counts as public, and so does its port."""
    with serving() as server:
        names["photos.example"] = ["127.0.0.1"]
        monkeypatch.setattr(fetching, "PORTS", {"http": server.server_port, "https": 443})
        monkeypatch.setattr(
            fetching, "is_public", lambda address: address == "127.0.0.1" or is_public(address)
        )
        yield server


def refusal(url: str, **options) -> str:
    with pytest.raises(ServiceError) as caught:
        fetch(url, **options)
    assert str(caught.value)[0].isupper() and str(caught.value).endswith(".")
    return caught.value.code


def test_a_photograph_is_fetched_under_its_hosts_name(host):
    assert fetch("http://photos.example/photo?size=large") == PHOTOGRAPH
    assert host.requests == [("/photo?size=large", "photos.example")]


def test_the_name_is_looked_up_once_and_that_address_is_used(host, names):
    """A second look-up could answer differently (DNS rebinding); there is none."""
    fetch("http://photos.example/photo")
    assert names["lookups"] == ["photos.example"]


def test_letters_outside_ascii_are_escaped_not_sent(host):
    fetch("http://photos.example/photo/K%C3%BCste/Küste.jpg?q=ü")
    assert host.requests[0][0] == "/photo/K%C3%BCste/K%C3%BCste.jpg?q=%C3%BC"


@pytest.mark.parametrize("addresses", [["127.0.0.2", "127.0.0.1"], ["127.0.0.2", "127.0.0.3", "127.0.0.1"]])
def test_another_address_is_tried_where_the_first_is_dead(host, names, monkeypatch, addresses):
    names["photos.example"] = addresses
    monkeypatch.setattr(fetching, "is_public", lambda address: address.startswith("127.0.0."))
    assert fetch("http://photos.example/photo") == PHOTOGRAPH
    assert names["lookups"] == ["photos.example"]


def test_an_address_that_swallows_connections_leaves_time_for_the_next(host, names, monkeypatch):
    def create_connection(address, timeout):
        if address[0] == "127.0.0.2":
            time.sleep(timeout)
            raise TimeoutError
        return connect(address, timeout)

    connect = socket.create_connection
    monkeypatch.setattr(socket, "create_connection", create_connection)
    monkeypatch.setattr(fetching, "is_public", lambda address: address.startswith("127.0.0."))
    names["photos.example"] = ["127.0.0.2", "127.0.0.1"]
    assert fetch("http://photos.example/photo", deadline_s=1) == PHOTOGRAPH
    names["photos.example"] = ["127.0.0.2"]
    assert refusal("http://photos.example/photo", deadline_s=0.2) == "upstream_slow"


def test_five_redirects_are_followed_and_no_more(host):
    assert fetch("http://photos.example/redirect/5") == PHOTOGRAPH
    assert refusal("http://photos.example/redirect/6") == "upstream_failed"


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("/photo/Küste.jpg".encode(), "/photo/K%C3%BCste.jpg"),
        ("/photo/Ålesund.jpg".encode(), "/photo/%C3%85lesund.jpg"),
        ("/photo/K\xfcste.jpg".encode("latin-1"), "/photo/K%FCste.jpg"),
        (b"/photo/the sea.jpg", "/photo/the%20sea.jpg"),
        (b"  /photo/sea.jpg ", "/photo/sea.jpg"),
        (b"../photo?size=large", "/photo?size=large"),
        (b"//photos.example/photo", "/photo"),
        ("http://photös.example/photo".encode(), "/photo"),
        (b"/photo/100%25", "/photo/100%25"),
    ],
)
def test_redirects_are_read_as_browsers_read_them(host, names, location, path):
    names["xn--phots-mua.example"] = ["127.0.0.1"]
    assert fetch(f"http://photos.example/raw/{location.hex()}") == PHOTOGRAPH
    assert host.requests[1][0] == path


@pytest.mark.parametrize(("second", "outcome"), [(b" /photo ", None), (b"/elsewhere", "upstream_failed")])
def test_a_location_that_is_sent_twice_is_one(host, second, outcome):
    url = "http://photos.example/raw/" + (b"/photo\r\nLocation: " + second).hex()
    assert (refusal(url) if outcome else fetch(url)) == (outcome or PHOTOGRAPH)


@pytest.mark.parametrize("path", ["interim", "gzip", "deflate", "deflate_without_header", "crumbs"])
def test_odd_ways_to_send_an_image_are_understood(host, path):
    """Also compressed, though the request says identity: the caller has no part in it."""
    assert fetch(f"http://photos.example/{path}") == PHOTOGRAPH


@pytest.mark.parametrize("length", [8192, 8193])
def test_a_url_is_as_long_as_it_is_sent(host, length):
    """Presigned S3 addresses have 2,300 characters; a letter outside ASCII is sent as six and more."""
    start = "http://photos.example/photo?"
    for letter, sent in (("x", 1), ("ü", 6), ("❤", 9), ("😀", 12)):
        count, rest = divmod(length - len(start), sent)
        url = start + letter * count + "x" * rest
        if length <= fetching.LONGEST_URL:
            assert fetch(url) == PHOTOGRAPH
        else:
            assert refusal(url) == "malformed"


def test_what_is_sent_has_a_budget_redirects_included(host):
    budget = Budget()
    for _ in range(8):
        assert fetch("http://photos.example/redirect/5", budget=budget) == PHOTOGRAPH
    assert refusal("http://photos.example/photo", budget=budget) == "too_large"
    assert len(host.requests) == fetching.MAX_REQUESTS == 48


def test_long_redirects_use_the_budget_up(host):
    budget = Budget()
    reasons = [refusal("http://photos.example/far", budget=budget) for _ in range(16)]
    assert set(reasons) == {"upstream_failed", "too_large"}  # five redirects, then nothing left
    assert host.received <= fetching.MAX_SENT == 65_536


@pytest.mark.parametrize(
    ("written", "looked_up"),
    [
        ("faß.de", "xn--fa-hia.de"),  # another host than fass.de, since IDNA 2008
        ("KÜSTE.example", "xn--kste-0ra.example"),
        ("photos。example。", "photos.example"),
        ("photos.example.", "photos.example"),
        ("ｐｈｏｔｏｓ.example", "photos.example"),
        ("i❤.example", "xn--i-7iq.example"),  # IDNA 2008 forbids it, browsers open it
        ("my_photos.example", "my_photos.example"),
    ],
)
def test_hosts_in_other_letters_are_looked_up_as_browsers_do(host, names, written, looked_up):
    names[looked_up] = ["127.0.0.1"]
    assert fetch(f"http://{written}/photo") == PHOTOGRAPH
    assert names["lookups"] == [looked_up]


@pytest.mark.parametrize(
    "url",
    [
        "http://photos.example/\ud800",
        "http://photos.example/?\udfff",
        "http://\ud800.example/",
        "http://ph\u2100tos.example/",  # a sign that stands for a/c
        "http://" + "ü" * 8000,
        "http://ü..example/",
        "http://photos.example:port/",
        "http://photos%2eexample/",
    ],
)  # fmt: skip
def test_what_is_no_url_is_malformed(url):
    assert refusal(url) == "malformed"


@pytest.mark.parametrize(
    "path",
    ["missing", "broken", "gibberish", "to?to=", "to?to=http://[", "to?to=http:///x", "longer",
     "gzip_cut", "gzip_lie", "gzip_twice", "brotli", "interim_only", "switching", "more_crumbs"],
)  # fmt: skip
def test_what_upstream_gets_wrong_is_upstreams_failure(host, path):
    assert refusal(f"http://photos.example/{path}") == "upstream_failed"


@pytest.mark.parametrize("path", ["endless", "huge", "gzip_bomb"])
def test_bytes_are_capped_while_they_arrive(host, path):
    assert refusal(f"http://photos.example/{path}") == "too_large"


@pytest.mark.parametrize("path", ["drip", "drip_headers", "mute"])
def test_one_deadline_covers_the_whole_exchange(host, path):
    assert refusal(f"http://photos.example/{path}", deadline_s=0.5) == "upstream_slow"


def test_no_caller_can_make_the_deadline_longer(host, monkeypatch):
    monkeypatch.setattr(fetching, "DEADLINE_S", 0.5)
    assert refusal("http://photos.example/drip", deadline_s=60) == "upstream_slow"


def test_the_deadline_covers_the_look_up_too(monkeypatch):
    asleep = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **options: [asleep.wait(5)][:0])
    assert refusal("http://photos.example/", deadline_s=0.2) == "upstream_slow"
    asleep.set()


def test_nobody_listening_is_upstreams_failure(host, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        monkeypatch.setattr(fetching, "PORTS", {"http": free.getsockname()[1], "https": 443})
    assert refusal("http://photos.example/photo") == "upstream_failed"


def test_an_unknown_name_is_upstreams_failure():
    assert refusal("http://photos.invalid/") == "upstream_failed"


def certificate(name: str, folder):
    """A self-signed certificate for a name, as files, with the context that a server needs."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "server.pem"
    pem.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return pem


@pytest.mark.parametrize(
    ("asked_for", "trusted"), [("photos.example", True), ("other.example", True), ("photos.example", False)]
)
def test_https_checks_the_certificate_against_the_name(tmp_path, monkeypatch, names, asked_for, trusted):
    pem = certificate("photos.example", tmp_path)
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(pem)
    client_side = ssl.create_default_context(cafile=pem if trusted else None)
    monkeypatch.setattr(fetching, "_tls", lambda: client_side)
    monkeypatch.setattr(fetching, "is_public", lambda address: address == "127.0.0.1")
    names["photos.example"] = names["other.example"] = ["127.0.0.1"]
    with serving(server_side) as server:
        monkeypatch.setattr(fetching, "PORTS", {"http": 80, "https": server.server_port})
        if asked_for == "photos.example" and trusted:
            assert fetch(f"https://{asked_for}/photo") == PHOTOGRAPH
        else:
            assert refusal(f"https://{asked_for}/photo") == "upstream_failed"
            assert server.requests == []


def test_tls_is_checked_by_default():
    context = fetching._tls()
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


# Refusals

INSIDE = {  # names whose DNS answers point inside
    "loopback.example": ["127.0.0.1"],
    "private.example": ["10.1.2.3"],
    "metadata.example": ["169.254.169.254"],
    "shared.example": ["100.64.0.1"],
    "mapped.example": ["::ffff:127.0.0.1"],
    "unique-local.example": ["fd00::1"],
    "both.example": ["93.184.215.14", "127.0.0.1"],  # one foot inside
}

# {port} is a port on which somebody listens on this machine, and which counts as a usual one for these tests.
HOSTILE = [
    # loopback, in every spelling that resolvers understand
    "http://127.0.0.1:{port}/", "http://127.1:{port}/", "http://2130706433:{port}/",
    "http://0x7f000001:{port}/", "http://0177.0.0.1:{port}/", "http://0:{port}/",
    "http://localhost:{port}/", "http://①②⑦.⓪.⓪.①:{port}/", "http://127。0。0。1:{port}/",
    "http://[::1]:{port}/", "http://[::]:{port}/", "http://[::ffff:127.0.0.1]:{port}/",
    "https://127.0.0.1:{port}/",
    # the runtime's own API, and the credentials' of a function from a snapshot
    "http://127.0.0.1:9001/2018-06-01/runtime/invocation/next",
    # link-local: instance and container credentials
    "http://169.254.169.254/latest/meta-data/", "http://2852039166/latest/meta-data/",
    "http://169.254.170.2/v2/credentials", "http://[fd00:ec2::254]/", "http://[::ffff:169.254.169.254]/",
    "http://[fe80::1]/", "http://[fe80::1%25lo]/",
    # private, shared, reserved
    "http://10.0.0.1/", "http://172.31.255.255/", "http://192.168.0.1/", "http://100.127.255.255/",
    "http://192.0.0.8/", "http://192.0.2.1/", "http://192.88.99.1/", "http://198.18.0.1/",
    "http://239.255.255.250/", "http://240.0.0.1/", "http://255.255.255.255/",
    # IPv6 that leads to IPv4, and IPv6 that leads inside
    "http://[64:ff9b::7f00:1]/", "http://[64:ff9b::169.254.169.254]/", "http://[64:ff9b:1::1]/",
    "http://[2002:a9fe:a9fe::1]/", "http://[2001::1]/", "http://[2001:db8::1]/", "http://[100::1]/",
    "http://[fc00::1]/", "http://[ff02::1]/", "http://[3fff::1]/",
    # names that point inside
    *(f"http://{name}:{{port}}/" for name in INSIDE),
    # other schemes
    "file:///etc/passwd", "file:///proc/self/environ", "data:image/png;base64,iVBORw0KGgo=",
    "gopher://127.0.0.1:{port}/_GET%20/", "ftp://127.0.0.1:{port}/photo.jpg", "/etc/passwd",
    "127.0.0.1:{port}", "//127.0.0.1:{port}/",
    # other services' ports
    "http://example.com:22/",
    # tricks with the URL's own grammar
    "http://example.com@127.0.0.1:{port}/", "http://127.0.0.1:{port}#@example.com/",
    "http://127.0.0.1:{port}\\@example.com/", "http://user:word@example.com/",
    "http://127.0.0.1:{port}/ HTTP/1.1\r\nX-Injected: 1", "http://127.0.0.1\t:{port}/",
    "http://\x00127.0.0.1:{port}/", "http://127.0.0.1%2f@example.com/", "http://[::1",
    "http://[v1.fe80]/", "http://:{port}/", "http:///photo.jpg", "http://example.com:99999/",
    "http://example.com:-1/", "http://.../", "http://" + "a" * 3000, "http://" + "a" * 300 + "/", "",
]  # fmt: skip


@pytest.fixture
def listener():
    """Somebody who listens inside and must not be called; yields the port and the ears."""
    with contextlib.ExitStack() as stack:
        ipv4 = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        port = ipv4.getsockname()[1]
        ears = [ipv4]
        with contextlib.suppress(OSError):  # no IPv6 in some containers
            ears.append(stack.enter_context(socket.create_server(("::1", port), family=socket.AF_INET6)))
        for ear in ears:
            ear.settimeout(0)
        yield port, ears


def test_no_hostile_url_causes_a_connection(monkeypatch, names, listener):
    port, ears = listener
    names |= INSIDE
    monkeypatch.setattr(fetching, "PORTS", {"http": 80, "https": 443, "here": port})
    called = []
    monkeypatch.setattr(socket.socket, "connect", lambda self, address: called.append(address))
    reasons = {url: refusal(url.format(port=port)) for url in HOSTILE}
    assert called == []
    for ear in ears:
        with pytest.raises(BlockingIOError):
            ear.accept()
    assert set(reasons.values()) <= {"not_allowed", "malformed"}
    assert reasons["http://127.0.0.1:{port}/"] == reasons["file:///etc/passwd"] == "not_allowed"


@pytest.mark.parametrize(
    "inside",
    [
        "http://169.254.169.254/latest/meta-data/",
        "http://metadata.example/",
        "//10.0.0.1/photo.jpg",
        "file:///etc/passwd",
        "gopher://127.0.0.1/",
        "http://[::ffff:10.0.0.1]/",
        "http://photos.example:22/",
    ],
)
def test_a_redirect_that_leads_inside_is_refused(host, names, inside):
    names |= INSIDE
    assert refusal(f"http://photos.example/to?to={inside}") == "not_allowed"
    assert [path.split("?")[0] for path, _ in host.requests] == ["/to"]


def test_every_address_of_a_network_agrees_with_its_neighbours():
    """The borders of what is not public: one address before, the first, the last, one after."""
    for network in (
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.168.0.0/16",
    ):
        first, last = ipaddress.ip_network(network)[0], ipaddress.ip_network(network)[-1]
        assert [is_public(str(ip)) for ip in (first - 1, first, last, last + 1)] == [True, False, False, True]


def test_only_plain_addresses_are_public():
    assert is_public("93.184.215.14") and is_public("2606:2800:21f:cb07:6820:80da:af6b:8b2c")
    assert not any(map(is_public, ("", "localhost", "127.0.0.1/8", "2606:2800::1%eth0")))


# Switches


def test_fetching_can_be_switched_off(host):
    assert refusal("http://photos.example/photo", policy=Policy(enabled=False)) == "not_allowed"
    assert host.requests == []


def test_fetching_can_be_held_to_a_list_of_hosts(host):
    assert fetch("http://PHOTOS.example/photo", Policy(hosts=("photos.example",))) == PHOTOGRAPH
    assert refusal("http://photos.example/photo", policy=Policy(hosts=("other.example",))) == "not_allowed"
    away = "http://photos.example/to?to=http://other.example/photo"
    assert refusal(away, policy=Policy(hosts=("photos.example",))) == "not_allowed"


def test_a_proxy_in_the_environment_is_not_used(host, monkeypatch):
    """A proxy would look the name up by itself, and none of the checks would count."""
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    assert fetch("http://photos.example/photo") == PHOTOGRAPH
