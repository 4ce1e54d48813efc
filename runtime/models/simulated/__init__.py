"""The simulated provider: an OpenAI-compatible server on loopback, with seeded answers and declared latencies."""

from runtime.models.simulated.server import serve, serve_in_thread

__all__ = ["serve", "serve_in_thread"]
