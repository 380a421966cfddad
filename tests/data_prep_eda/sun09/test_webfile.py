"""A file on a web server: gone on with after faults, and one sentence where that is no use."""

import io
import socket

import pytest

from data_prep_eda.archives import AcquisitionError
from data_prep_eda.sun09 import webfile
from data_prep_eda.sun09.webfile import WebFile

CONTENT = bytes(range(256)) * 400


@pytest.fixture(autouse=True)
def content(server):
    server.content = CONTENT


def read(url, position=0):
    file = WebFile(url)
    file.position = position
    with io.BufferedReader(file, 50_000) as stream:
        return b"".join(iter(lambda: stream.read(1000), b""))


@pytest.mark.parametrize(
    "trouble",
    [{"drops": [None, 30_000, 0, 20_000]}, {"stalls": [None, 20_000]}, {"statuses": [503, 429]}],
    ids=["dropped", "silent", "busy"],
)
def test_it_is_read_from_any_byte_on_through_faults(server, trouble):
    vars(server).update(trouble)
    assert read(server.url, 1000) == CONTENT[1000:]


def test_only_so_much_is_asked_for_at_a_time(server):
    read(server.url)
    assert server.asked == [0, 0, 50_000, 100_000]  # the first one is for its length


def test_a_server_without_ranges_is_refused_before_it_sends_all(server):
    server.ranges = False
    with pytest.raises(
        AcquisitionError, match=r"HTTP Range\), the server answered 200 OK.* --source sun09.tar"
    ):
        read(server.url)


def test_another_version_is_not_glued_to_the_first(server):
    with WebFile(server.url) as file:
        server.tag = '"two"'
        with pytest.raises(AcquisitionError, match="found that it changed"):
            file.read(1000)


def test_an_address_is_encoded_once(server):
    read(server.url.replace("sun09", "B\u00fccher/my%20sun 09"))
    assert set(server.paths) == {"/B%C3%BCcher/my%20sun%2009.tar"}


@pytest.mark.parametrize("address", ["[::1/x", "127.0.0.1:port/x", ".../x"])
def test_what_is_no_address_is_one_sentence_and_not_tried_again(address, monkeypatch):
    monkeypatch.setattr(webfile, "RETRIES", 10**6)
    with pytest.raises(AcquisitionError, match="Expected an address, found http://"):
        read(f"http://{address}")


def test_no_server_is_one_sentence():
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/sun09.tar"
    with pytest.raises(AcquisitionError, match="found no way on after 2 more attempts"):
        read(url)


def test_a_proxy_is_used(server, monkeypatch):
    monkeypatch.setenv("http_proxy", server.url.removesuffix("/sun09.tar"))
    monkeypatch.setenv("no_proxy", "")
    assert (
        read("http://archive.invalid/a.tar") == CONTENT and server.paths[0] == "http://archive.invalid/a.tar"
    )
