"""The agent in the library, and everything that can be wrong with one."""

from pathlib import Path

import pytest

from runtime.errors import AgentRefused, PromptFailed
from runtime.graph import Agent, library, load
from runtime.prompts import PROMPT_CHARS_MAX, fill, paths

GOOD = """
name: tiny
version: "1"
start: ask
models: {decision: m, response: m}
on_hang_up: gone
on_failure: gone
facts: {place: here}
dispositions: {gone: {}, done: {}}
tools:
  yes: {description: they agree, arguments: {day: {}}}
nodes:
  ask: {say: "Hello from {{ facts.place }}?", tools: {yes: bye}, fallback: ask}
  bye: {say: "Bye, see you {{ data.day }}.", disposition: done}
"""


def folder(tmp_path: Path, agent: str, **prompts: str) -> Path:
    (tmp_path / "agent.yaml").write_text(agent)
    (tmp_path / "prompts").mkdir()
    for name, text in prompts.items():
        (tmp_path / "prompts" / f"{name.replace('__', '.')}.md").write_text(text)
    return tmp_path


def faults(tmp_path: Path, agent: str, **prompts: str) -> list[str]:
    with pytest.raises(AgentRefused) as refused:
        load(folder(tmp_path, agent, **({"ask__decision": "Pick."} | prompts)))
    return [str(fault) for fault in refused.value.faults]


def test_a_good_agent_is_taken(tmp_path: Path) -> None:
    agent = load(folder(tmp_path, GOOD, ask__decision="Pick one at {{ facts.place }}."))
    assert agent.nodes["ask"].decision == "Pick one at {{ facts.place }}."
    assert agent.nodes["bye"].terminal


def test_the_library_agent_discloses_and_can_end_in_every_way() -> None:
    agent = library("appointments")
    assert "recorded" in agent.nodes["greet"].say
    assert "AI" in agent.nodes["greet"].say
    endings = {node.disposition for node in agent.nodes.values() if node.terminal}
    assert {"booked", "wrong_number", "opted_out", "call_later", "not_interested"} == endings
    for node in agent.nodes.values():
        assert node.terminal or {"wrong_number", "opt_out", "say_again"} <= set(node.tools)


def test_an_unknown_library_agent_names_the_known_ones() -> None:
    with pytest.raises(AgentRefused, match="appointments"):
        library("golf")


def test_all_faults_are_found_at_once(tmp_path: Path) -> None:
    broken = (
        GOOD.replace("tools: {yes: bye}, fallback: ask", "tools: {yes: nowhere, no: bye}, fallback: lost")
        .replace("disposition: done", "disposition: undone")
        .replace("on_failure: gone", "on_failure: never")
        .replace("description: they agree", 'description: ""')
        .replace("{{ facts.place }}?", "{{ facts.plaice }}?")
        + "  island: {tools: {yes: ask}, fallback: ask}\n"
    )
    found = "\n".join(faults(tmp_path, broken, stray__decision="x"))
    for part in (
        "unknown node 'nowhere'",
        "unknown tool 'no'",
        "unknown node 'lost'",
        "unknown disposition 'undone'",
        "unknown disposition 'never'",
        "no description",
        "'facts.plaice' is not known",
        "nodes.island: it cannot be reached",
        "prompts/island.decision.md: missing prompt",
        "prompts/island.response.md: missing prompt",
        "prompts/stray.decision.md: it belongs to no node",
    ):
        assert part in found


def test_an_agent_needs_an_end_and_a_start(tmp_path: Path) -> None:
    endless = GOOD.replace("disposition: done", "tools: {yes: ask}, fallback: ask").replace("start: ask", "start: on")
    found = "\n".join(faults(tmp_path, endless))
    assert "no node ends the call" in found
    assert "start: unknown node 'on'" in found


def test_a_node_that_goes_nowhere_would_hang_the_call(tmp_path: Path) -> None:
    assert any("would hang" in fault for fault in faults(tmp_path, GOOD.replace(", disposition: done", "")))


def test_a_misspelt_field_is_named_with_its_place(tmp_path: Path) -> None:
    (fault,) = faults(tmp_path, GOOD.replace("fallback:", "fallbak:"))
    assert "nodes" in fault
    assert "fallbak" in fault


@pytest.mark.parametrize("text", ["name: [", "- a\n- b\n", "\t"])
def test_what_is_no_agent_is_refused(tmp_path: Path, text: str) -> None:
    assert faults(tmp_path, text)


def test_bad_template_syntax_is_a_fault(tmp_path: Path) -> None:
    assert any("cannot be read" in f for f in faults(tmp_path, GOOD, ask__decision="{% if %}"))


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(AgentRefused, match="no such file"):
        load(tmp_path / "none")


def test_a_file_has_a_limit(tmp_path: Path) -> None:
    with pytest.raises(AgentRefused, match="bytes"):
        load(folder(tmp_path, GOOD + "# " + "x" * 300_000))


def test_every_collected_argument_is_there_from_the_start() -> None:
    agent: Agent = library("appointments")
    assert agent.blanks() == {"reason": "", "day": "", "time": ""}


def test_templates_are_strict_and_sandboxed() -> None:
    assert fill("Hi {{ a.b }}", {"a": {"b": 1}}) == "Hi 1"
    for bad in ("{{ nope }}", "{{ a.__class__.__mro__ }}", "{{ 1 / 0 }}", "{{ ''.__class__ }}", "{{ a.append(1) }}"):
        with pytest.raises(PromptFailed):
            fill(bad, {"a": []})


def test_a_failing_template_does_not_repeat_what_it_was_given() -> None:
    with pytest.raises(PromptFailed) as failed:
        fill("{{ words | int + words }}", {"words": "+1 555 123 4567"})
    assert "555" not in str(failed.value)


def test_a_prompt_has_a_limit() -> None:
    assert len(fill("{{ a * 99999 }}", {"a": "x"})) == PROMPT_CHARS_MAX


def test_paths_are_whole_and_skip_the_template_s_own_names() -> None:
    source = "{% for d in facts.days %}{{ d }}{% endfor %}{% if data.day %}{{ data.day | upper }}{% endif %}"
    assert paths(source) == {"facts.days", "data.day"}
