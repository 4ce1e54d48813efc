"""The fixtures that several system tests use."""

from tests.system.browser import browser

__all__ = ["browser"]
