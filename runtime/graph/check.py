"""Finds every fault of an agent at once, without running it; mends nothing."""

from collections.abc import Collection, Iterator

from runtime.errors import Fault, PromptFailed
from runtime.events import looks_like_phone
from runtime.graph.spec import Agent, Node
from runtime.prompts import fill, paths


def faults_of(agent: Agent) -> list[Fault]:
    """All that would go wrong in a call, in the order in which the agent is written."""
    faults = [*_top(agent), *_tools(agent)]
    for name, node in agent.nodes.items():
        faults += _node(agent, f"agent.yaml: nodes.{name}", node)
        faults += _prompts(agent, name, node)
    return [*faults, *_reach(agent)]


def _top(agent: Agent) -> Iterator[Fault]:
    for field in ("on_hang_up", "on_failure"):
        if getattr(agent, field) not in agent.dispositions:
            yield _unknown(f"agent.yaml: {field}", "disposition", getattr(agent, field), agent.dispositions)
    if agent.start not in agent.nodes:
        yield _unknown("agent.yaml: start", "node", agent.start, agent.nodes)
    if not any(node.terminal for node in agent.nodes.values()):
        yield Fault("agent.yaml: nodes", "no node ends the call", "give at least one node a `disposition`")
    if looks_like_phone(agent.version):
        yield Fault("agent.yaml: version", "it has the shape of a phone number", "write it as `1.2` or a commit")


def _tools(agent: Agent) -> Iterator[Fault]:
    offered = {tool for node in agent.nodes.values() for tool in node.tools}
    for name, tool in agent.tools.items():
        where = f"agent.yaml: tools.{name}"
        if not tool.description.strip():
            yield Fault(where, "it has no description, so no model can know when it fires", "add `description`")
        if name not in offered:
            yield Fault(where, "no node offers it", "offer it in a node's `tools` or remove it")


def _node(agent: Agent, where: str, node: Node) -> Iterator[Fault]:
    for tool, following in node.tools.items():
        if tool not in agent.tools:
            yield _unknown(f"{where}.tools", "tool", tool, agent.tools)
        if following not in agent.nodes:
            yield _unknown(f"{where}.tools.{tool}", "node", following, agent.nodes)
    if node.terminal:
        if node.disposition not in agent.dispositions:
            yield _unknown(f"{where}.disposition", "disposition", node.disposition, agent.dispositions)
        if node.tools:
            yield Fault(where, "it ends the call and yet offers tools", "remove `tools` or `disposition`")
        return
    if not node.tools:
        yield Fault(
            where, "it offers no tool and has no disposition: a call would hang", "add `tools` or `disposition`"
        )
    if node.fallback not in agent.nodes:
        yield _unknown(f"{where}.fallback", "node", node.fallback, agent.nodes)


def _prompts(agent: Agent, name: str, node: Node) -> Iterator[Fault]:
    decision, response = f"prompts/{name}.decision.md", f"prompts/{name}.response.md"
    if node.tools and not node.decision.strip():
        yield Fault(decision, "missing prompt: the node offers tools", "write when each of them fires")
    if not node.say.strip() and not node.response.strip():
        yield Fault(response, "missing prompt: the node says nothing", "write it, or a static `say` in agent.yaml")
    if node.say.strip() and node.response.strip():
        yield Fault(response, "the node has a static `say` as well", "keep one of the two")
    for where, source in (
        (f"agent.yaml: nodes.{name}.say", node.say),
        (decision, node.decision),
        (response, node.response),
    ):
        yield from _template(agent, where, source)


def _template(agent: Agent, where: str, source: str) -> Iterator[Fault]:
    known = {f"facts.{fact}" for fact in agent.facts} | {f"data.{name}" for name in agent.blanks()}
    try:
        unknown = sorted(path for path in paths(source) if not any(f"{path}.".startswith(f"{k}.") for k in known))
    except PromptFailed as failure:
        yield Fault(where, str(failure), "mend the template")
        return
    for path in unknown:
        yield Fault(where, f"template path {path!r} is not known", f"use one of {sorted(known)}")
    if not unknown:
        try:
            fill(source, {"facts": agent.facts, "data": agent.blanks()})
        except PromptFailed as failure:
            yield Fault(where, str(failure), "mend the template")


def _reach(agent: Agent) -> Iterator[Fault]:
    seen: set[str] = set()
    ahead = [agent.start]
    while ahead:
        name = ahead.pop()
        if name in seen or name not in agent.nodes:
            continue
        seen.add(name)
        node = agent.nodes[name]
        ahead += [*node.tools.values(), node.fallback]
    for name in agent.nodes:
        if name not in seen:
            yield Fault(f"agent.yaml: nodes.{name}", "it cannot be reached from the start", "route to it or remove it")


def _unknown(where: str, kind: str, name: str, known: Collection[str]) -> Fault:
    what = f"unknown {kind} {name!r}" if name else f"no {kind} is named"
    return Fault(where, what, f"use one of {sorted(known)}")
