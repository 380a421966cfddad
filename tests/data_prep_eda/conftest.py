"""What the tests of this package share."""

import pytest

from data_prep_eda import cache


@pytest.fixture(autouse=True)
def a_cache_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Each test decides for itself; nothing that was kept from another run answers for it."""
    monkeypatch.setattr(cache, "CACHE", tmp_path_factory.mktemp("cache"))
