"""Reads an agent from a folder: `agent.yaml` and `prompts/<node>.decision.md`, `prompts/<node>.response.md`.

Runs no call. What is wrong is raised as one AgentRefused with every fault found.
"""

import re
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import msgspec
import yaml

from runtime.errors import AgentRefused, Fault
from runtime.graph.check import faults_of
from runtime.graph.spec import Agent, Node

AGENT_FILE = "agent.yaml"
FILE_BYTES_MAX = 256 * 1024
_PATH = re.compile(r" - at `\$?\.?([^`]*)`$")


class _Yaml(yaml.SafeLoader):
    """Only `true` and `false` are booleans: in YAML 1.1 a tool named `yes` or a node named `on` would be, too."""


_Yaml.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Yaml.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|false)$"), list("tf"))


def load(folder: Path | Traversable) -> Agent:
    """The agent in `folder`, checked. Raises AgentRefused."""
    agent, prompts = _read(folder)
    faults = faults_of(agent)
    unused = sorted(set(prompts) - {f"{name}.{half}.md" for name in agent.nodes for half in ("decision", "response")})
    faults += [Fault(f"prompts/{name}", "it belongs to no node", "rename it or remove it") for name in unused]
    if faults:
        raise AgentRefused(faults)
    return agent


def library(name: str) -> Agent:
    """An agent that ships with turnlog, such as `appointments`. Raises AgentRefused when there is none."""
    shelf = resources.files("runtime.graph") / "library"
    known = sorted(entry.name for entry in shelf.iterdir() if entry.is_dir() and not entry.name.startswith("_"))
    if name not in known:
        raise AgentRefused([Fault(name, "no such agent in the library", f"choose one of {known}")])
    return load(shelf / name)


def _read(folder: Path | Traversable) -> tuple[Agent, dict[str, str]]:
    text = _text(folder / AGENT_FILE, AGENT_FILE)
    try:
        data = yaml.load(text, _Yaml)  # noqa: S506  a SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = AGENT_FILE if mark is None else f"{AGENT_FILE}:{mark.line + 1}"
        raise AgentRefused([Fault(where, "it is not YAML", "mend the line above or at the place named")]) from None
    try:
        agent = msgspec.convert(data, Agent, strict=False)
    except msgspec.ValidationError as error:
        raise AgentRefused([_fault(error)]) from None
    prompts = _prompts(folder / "prompts")
    return msgspec.structs.replace(agent, nodes={k: _with(v, k, prompts) for k, v in agent.nodes.items()}), prompts


def _with(node: Node, name: str, prompts: dict[str, str]) -> Node:
    changes: dict[str, Any] = {
        half: prompts[f"{name}.{half}.md"] for half in ("decision", "response") if f"{name}.{half}.md" in prompts
    }
    return msgspec.structs.replace(node, **changes)


def _prompts(folder: Traversable) -> dict[str, str]:
    if not folder.is_dir():
        return {}
    return {
        entry.name: _text(entry, f"prompts/{entry.name}") for entry in folder.iterdir() if entry.name.endswith(".md")
    }


def _text(file: Traversable, where: str) -> str:
    try:
        data = file.read_bytes()
        if len(data) > FILE_BYTES_MAX:
            raise AgentRefused([Fault(where, f"it has more than {FILE_BYTES_MAX} bytes", "split it")])
        return data.decode()
    except FileNotFoundError:
        raise AgentRefused([Fault(where, "no such file", "give the folder of an agent")]) from None
    except (OSError, UnicodeDecodeError):
        raise AgentRefused([Fault(where, "it cannot be read as UTF-8 text", "check the file and its rights")]) from None


def _fault(error: msgspec.ValidationError) -> Fault:
    message = str(error)
    found = _PATH.search(message)
    place = f"{AGENT_FILE}: {found[1]}" if found else AGENT_FILE
    return Fault(place, _PATH.sub("", message), "see the fields in `runtime.graph.spec`")
