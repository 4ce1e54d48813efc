"""The broker and the store of the contract suites, and the seed of a run."""

from tests.contract.conftest import apache, spawn, store_url

__all__ = ["apache", "spawn", "store_url"]
