"""What the tests of the acquisition share."""

import threading

import pytest

from tests.data_prep_eda.sun09.archive_server import Server


@pytest.fixture
def server():
    with Server() as running:
        threading.Thread(target=running.serve_forever, args=(0.05,), daemon=True).start()
        yield running
        running.shutdown()
