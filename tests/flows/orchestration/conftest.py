from tests.stores import bucket_store, place, rows, s3, store

__all__ = ["bucket_store", "place", "rows", "s3", "store"]
