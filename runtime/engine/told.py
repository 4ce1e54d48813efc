"""What was asked of a model, for processors that may hear words. Asks nothing."""

from runtime import genai
from runtime.models import Ask
from runtime.tracing import OpenSpan


def tell_ask(span: OpenSpan, ask: Ask) -> None:
    """Instructions and conversation, in the conventions' attributes; nothing unless words may be told."""
    span.words(genai.INSTRUCTIONS, lambda: genai.instructions(m.text for m in ask.messages if m.role == "system"))
    span.words(genai.INPUT, lambda: genai.messages([(m.role, m.text) for m in ask.messages if m.role != "system"]))
