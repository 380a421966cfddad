"""What the tests of the acquisition share."""

import threading

import pytest

from data_prep_eda.sun09 import webfile
from tests.data_prep_eda.sun09.archive_server import Server


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(webfile, "RETRIES", 2)
    monkeypatch.setattr(webfile, "TIMEOUT", 0.5)
    monkeypatch.setattr(webfile, "PAUSE", 0.01)


@pytest.fixture
def server():
    with Server() as running:
        threading.Thread(target=running.serve_forever, args=(0.05,), daemon=True).start()
        yield running
        running.shutdown()
