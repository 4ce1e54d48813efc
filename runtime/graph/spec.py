"""What an agent is: frozen data, the way `agent.yaml` spells it. Reads no file and checks no reference."""

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

Name = Annotated[str, Meta(pattern="^[a-z][a-z0-9_]{0,63}$")]
DESCRIPTION_CHARS_MAX = 1024


class _Spec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An unknown field is a typing error of the author, never ignored."""


class Argument(_Spec, frozen=True, kw_only=True):
    """One argument of a tool, in the terms of JSON Schema."""

    type: Literal["string", "integer"] = "string"
    description: str = ""
    enum: tuple[str, ...] = ()
    required: bool = True


class Tool(_Spec, frozen=True, kw_only=True):
    """What a decision may pick. The description says when it fires; phrases in "quotes" are examples.

    `calls` names the outside tool that is asked when it fires; empty when firing is all that happens.
    """

    description: Annotated[str, Meta(max_length=DESCRIPTION_CHARS_MAX)] = ""
    arguments: dict[Name, Argument] = field(default_factory=dict)
    calls: str = ""


class Node(_Spec, frozen=True, kw_only=True):
    """One stage of the conversation. On entering it the agent says `say`, or what the response prompt yields.

    `tools` maps each tool that can fire here to the node that follows: routing is this table and nothing else.
    `fallback` follows when no usable tool was picked. A node with a disposition ends the call.
    """

    say: str = ""
    decision: str = ""
    response: str = ""
    tools: dict[Name, Name] = field(default_factory=dict)
    fallback: str = ""
    disposition: str = ""
    decision_model: str = ""
    response_model: str = ""

    @property
    def terminal(self) -> bool:
        return bool(self.disposition)


class Disposition(_Spec, frozen=True, kw_only=True):
    description: str = ""


class Models(_Spec, frozen=True, kw_only=True):
    """The models of the two prompts, unless a node names its own."""

    decision: str
    response: str


class Agent(_Spec, frozen=True, kw_only=True):
    name: Name
    version: Annotated[str, Meta(min_length=1, max_length=64)]
    start: Name
    models: Models
    nodes: dict[Name, Node]
    tools: dict[Name, Tool]
    dispositions: dict[Name, Disposition]
    on_hang_up: Name
    on_failure: Name
    facts: dict[Name, str] = field(default_factory=dict)

    def blanks(self) -> dict[str, str]:
        """Every argument that any tool can collect, still empty, so that a template never meets a missing one."""
        return {name: "" for tool in self.tools.values() for name in tool.arguments}
