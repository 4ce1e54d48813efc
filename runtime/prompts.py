"""Fills templates, in Jinja's sandbox; knows no agent and no model.

Facts that are known are put in by a template instead of being left to a model: a condition in a template
costs no token and cannot be misread.
"""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateError, nodes
from jinja2.sandbox import ImmutableSandboxedEnvironment

from runtime.errors import PromptFailed

PROMPT_CHARS_MAX = 32_768  # a filled prompt; far above a sane one, far below a model's window

_ENVIRONMENT = ImmutableSandboxedEnvironment(
    undefined=StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True
)


def fill(source: str, values: Mapping[str, Any]) -> str:
    """The template with `values` put in, stripped, at most PROMPT_CHARS_MAX characters. Raises PromptFailed."""
    try:
        text = _compiled(source).render(values)
    except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError, AttributeError) as error:
        # The message of a template's error may quote a value: its type says enough here.
        raise PromptFailed(f"the template cannot be filled ({type(error).__name__})") from None
    return text.strip()[:PROMPT_CHARS_MAX]


def paths(source: str) -> frozenset[str]:
    """Every dotted path that the template reads, such as `facts.clinic`. Raises PromptFailed on bad syntax."""
    try:
        tree = _ENVIRONMENT.parse(source)
    except TemplateError as error:
        raise PromptFailed(f"the template cannot be read: {error}") from None
    own = {name.name for name in tree.find_all(nodes.Name) if name.ctx != "load"}
    return frozenset(path for path in _paths(tree) if path.split(".", 1)[0] not in own)


@lru_cache(maxsize=512)
def _compiled(source: str) -> Template:
    return _ENVIRONMENT.from_string(source)


def _paths(node: nodes.Node) -> Iterator[str]:
    dotted = _dotted(node)
    if dotted is not None:
        yield dotted
        return
    for child in node.iter_child_nodes():
        yield from _paths(child)


def _dotted(node: nodes.Node) -> str | None:
    if isinstance(node, nodes.Name):
        return node.name if node.ctx == "load" else None
    if isinstance(node, nodes.Getattr):
        before = _dotted(node.node)
        return None if before is None else f"{before}.{node.attr}"
    return None
