"""Promotions are tried on a bucket each night; in CI those of many processes at once are."""

import pytest

from tests.stores import bucket_store, empty, rows, s3, store

__all__ = ["bucket_store", "place", "rows", "s3", "store"]


@pytest.fixture(params=["folder", pytest.param("s3", marks=[pytest.mark.slow, pytest.mark.nightly])])
def place(request, tmp_path):
    return empty(request, tmp_path)
