"""Models: the port, its litellm adapter, and (in `simulated`) a provider of our own to test against."""

from runtime.models.ask import Ask, Delta, Message, Model, Provider, Stamps, ToolPart
from runtime.models.client import LiteLlm, preload

__all__ = ["Ask", "Delta", "LiteLlm", "Message", "Model", "Provider", "Stamps", "ToolPart", "preload"]
