"""A file on a web server: gone on with after faults, and one sentence where that is no use."""

import io
import socket

import pytest

from data_prep_eda.archives import AcquisitionError
from data_prep_eda.sun09.webfile import WebFile

CONTENT = bytes(range(256)) * 400


@pytest.fixture(autouse=True)
def content(server):
    server.content = CONTENT


def read(url, position=0, identity=None, retries=2):
    file = WebFile(url, position, identity, retries=retries, timeout=0.5, pause=0.01)
    with io.BufferedReader(file, 8192) as stream:
        return stream.read()


def test_it_is_read_from_any_byte_on_through_faults_of_all_kinds(server):
    server.statuses, server.drops = [503], [30_000, 0]
    assert read(server.url, 1000, retries=3) == CONTENT[1000:]
    assert server.asked[0] == 1000 and server.asked[-1] > 30_000


def test_a_server_without_ranges_sends_all_again_and_nothing_twice(server):
    server.ranges, server.drops = False, [30_000]
    assert read(server.url, 1000) == CONTENT[1000:]


def test_another_version_is_not_glued_to_the_first(server):
    with WebFile(server.url) as file:
        identity = file.identity
    server.tag = '"two"'
    with pytest.raises(AcquisitionError, match="it changed on the server"):
        read(server.url, 1000, identity)


def test_an_address_is_encoded_once(server):
    read(server.url.replace("sun09", "B\u00fccher/my%20sun 09"))
    assert server.paths == ["/B%C3%BCcher/my%20sun%2009.tar"]


@pytest.mark.parametrize("address", ["[::1/x", "127.0.0.1:port/x", ".../x"])
def test_what_is_no_address_is_one_sentence_and_not_tried_again(address):
    with pytest.raises(AcquisitionError, match="Expected a valid address, found http://"):
        read(f"http://{address}", retries=10**6)


def test_no_server_is_one_sentence():
    with socket.create_server(("127.0.0.1", 0)) as closed:
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/sun09.tar"
    with pytest.raises(AcquisitionError, match="found no way on after 2 more attempts"):
        read(url)
