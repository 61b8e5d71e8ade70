"""The loop: what a model says and calls becomes events, and what its calls came to it is told."""

import pytest

from runcast_local.model import Call, Raw, Say, Think, Turn, says, thinks
from runcast_tasks.conversation import Message
from tests.worker.llm.conftest import Play


async def test_a_model_thinks_calls_tools_side_by_side_and_answers(play: Play) -> None:
    """Each part and call has its events, in order; the answer is the last output."""
    calls = [Call("list_files"), Call("shell", {"command": "echo side by side"})]
    play.stub.scripts["mine"] = [
        Turn([*thinks("The tools will know."), *says("I look."), *calls], input_tokens=100, output_tokens=20),
        Turn(says("There is a.py."), input_tokens=200, output_tokens=10, cached_tokens=90),
    ]
    types = await play("What is here?")
    assert play.error is None
    assert play.answer == "There is a.py."
    assert types[:7] == [
        *("task_analysis", "iteration_start", "thinking_start", "thinking", "think_complete"),
        *("output_start", "output"),
    ]
    assert types[-6:] == [
        *("iteration_start", "output_start", "output", "output_complete", "token_usage", "iteration_complete")
    ]
    starts, ends = play.of("tool_call_start"), play.of("tool_call_complete")
    assert [(s.tool_call_id, s.tool_name) for s in starts] == [("1.0", "list_files"), ("1.1", "shell")]
    assert all(start.provider_id for start in starts)
    assert {end.tool_call_id: end.error for end in ends} == {"1.0": None, "1.1": None}
    told = {m["tool_call_id"]: m["content"] for m in play.stub.asked[1].messages if m["role"] == "tool"}
    assert set(told) == {start.provider_id for start in starts}
    assert "a.py" in told[starts[0].provider_id]
    assert "side by side" in told[starts[1].provider_id]
    usages = [(u.model, u.input, u.output, u.cached) for u in play.of("token_usage")]
    assert usages[1] == ("mine", 200, 10, 90)
    assert usages[0][:3] == ("mine", 100, 20)
    assert [u.cost_usd for u in play.of("token_usage")] == [None, None], "nobody knows the price of this model"
    assert [i.usage.output for i in play.of("iteration_complete")] == [20, 10]
    counted = play.metrics.registry.get_sample_value
    tokens = {
        kind: counted("runcast_model_tokens_total", {"model": "mine", "kind": kind}) for kind in ("input", "output")
    }
    assert tokens == {"input": 300, "output": 30}
    assert counted("runcast_model_request_seconds_count", {"model": "mine", "outcome": "ok"}) == 2
    assert counted("runcast_model_first_token_seconds_count", {"model": "mine"}) == 2


async def test_side_by_side_means_at_the_same_time(play: Play) -> None:
    """Each of the two waits for a file that the other one makes."""
    play.stub.scripts["mine"] = [
        Turn(
            [
                Call("shell", {"command": f"touch {own}; while [ ! -e {other} ]; do sleep 0.02; done", "timeout_s": 10})
                for own, other in (("x", "y"), ("y", "x"))
            ]
        ),
        Turn(says("Both.")),
    ]
    await play("go")
    assert [end.error for end in play.of("tool_call_complete")] == [None, None]
    assert play.answer == "Both."


async def test_invalid_arguments_are_shown_and_the_model_is_told(play: Play) -> None:
    """No JSON, JSON that is no object, and an object that the tool does not take: each time the model may mend it."""
    play.stub.scripts["mine"] = [
        Turn([Call("shell", '{"command": "unfinis')]),
        Turn([Call("shell", '["ls"]')]),
        Turn([Call("shell", {"cmd": "ls"})]),
        Turn([Call("shell", {"command": "echo well"})]),
        Turn(says("At last.")),
    ]
    await play("go")
    starts, ends = play.of("tool_call_start"), play.of("tool_call_complete")
    assert [start.raw_arguments for start in starts] == ['{"command": "unfinis', '["ls"]', None, None]
    assert [end.error.code if end.error else None for end in ends] == [*["invalid_arguments"] * 3, None]
    told = [message["content"] for message in play.stub.asked[3].messages if message["role"] == "tool"]
    assert all("invalid_arguments" in content for content in told)
    assert "command" in told[2]
    assert play.answer == "At last."


async def test_an_unknown_tool_is_told_with_those_there_are(play: Play) -> None:
    """A model that dreamed up a tool gets on."""
    play.stub.scripts["mine"] = [Turn([Call("teleport", {})]), Turn(says("I stay."))]
    await play("go")
    (end,) = play.of("tool_call_complete")
    assert end.error.code == "unknown_tool"
    assert "list_files, shell" in end.error.message
    assert play.answer == "I stay."


async def test_text_that_comes_in_several_parts_is_one_answer(play: Play) -> None:
    """Thinking between two texts ends the first: the last output is the answer."""
    play.stub.scripts["mine"] = [Turn([Say("one "), Say("two"), Think("hm"), Say("three")])]
    await play("go")
    assert [event.content for event in play.of("output_complete", "think_complete")] == ["one two", "hm", "three"]


async def test_the_sessions_conversation_is_the_models_memory(play: Play) -> None:
    """With the agent's instructions before it, and the task's prompt last."""
    play.stub.scripts["mine"] = [Turn(says("Anna."))]
    earlier = [Message("user", "I am Anna.", "s1.a"), Message("assistant", "Hello Anna.", "s1.a")]
    await play("Who am I?", conversation=earlier, instructions="Be brief.")
    assert [(m["role"], m["content"]) for m in play.stub.asked[0].messages] == [
        ("system", "Be brief."),
        ("user", "I am Anna."),
        ("assistant", "Hello Anna."),
        ("user", "Who am I?"),
    ]


async def test_a_model_is_offered_the_agents_tools_with_their_arguments(play: Play) -> None:
    """As JSON schemas, described."""
    play.stub.scripts["mine"] = [Turn(says("Fine."))]
    await play("go", tools=["shell"])
    (asked,) = play.stub.asked
    assert list(asked.tools) == ["shell"]
    assert asked.tools["shell"]["required"] == ["command"]
    (tool,) = asked.completion.tools or ()
    assert tool["function"]["description"]


@pytest.mark.parametrize(
    ("limits", "kind"),
    [
        ({"iterations": 3}, "limit_iterations"),
        ({"tool_calls": 3}, "limit_tool_calls"),
        ({"tokens": 50}, "limit_tokens"),
    ],
)
async def test_a_model_that_calls_tools_for_ever_is_stopped(play: Play, limits: dict[str, int], kind: str) -> None:
    """By the limit that it reaches first."""
    await play("go", model="stub-loop", limits=limits)
    assert play.error is not None
    assert play.error.kind == kind


async def test_what_a_known_model_costs_is_told(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the price list that comes with genai-prices, offline; cached tokens at their own price."""
    monkeypatch.setenv("OPENAI_BASE_URL", str(play.base_url))
    monkeypatch.setenv("OPENAI_API_KEY", "no-key-of-anybody")
    play.base_url = None
    play.stub.scripts["gpt-4o-mini"] = [Turn(says("Fine."), input_tokens=1000, output_tokens=100, cached_tokens=600)]
    await play("go", model="openai-chat:gpt-4o-mini")
    (usage,) = play.of("token_usage")
    assert usage.cost_usd == pytest.approx(400 * 0.15e-6 + 600 * 0.075e-6 + 100 * 0.6e-6)


async def test_the_agents_model_settings_reach_the_provider(play: Play) -> None:
    """As they stand in agents.toml."""
    play.stub.scripts["mine"] = [Turn(says("Fine."))]
    await play("go", model_settings={"temperature": 0.25, "max_tokens": 77})
    extra = play.stub.asked[0].completion.model_extra or {}
    assert extra["temperature"] == 0.25
    assert 77 in (extra.get("max_tokens"), extra.get("max_completion_tokens"))


async def test_halves_of_characters_are_joined_and_lone_ones_replaced(play: Play) -> None:
    """JSON that was cut by UTF-16 units is legal; it must not end the task, nor come back to the provider."""
    chunk = '{"id":"1","object":"chat.completion.chunk","created":1,"model":"mine","choices":[{"index":0,"delta":%s}]}'
    halves = ["\\ud83d", "\\ude00 lone: \\ud83d.", " end \\ud83d"]
    pieces = [Raw(chunk % ('{"content":"' + half + '"}')) for half in halves]
    play.stub.scripts["mine"] = [Turn([*pieces, Call("list_files")]), Turn(says("Well."))]
    await play("go")
    assert play.error is None
    assert play.of("output_complete")[0].content == "\U0001f600 lone: \ufffd. end "
    assert play.answer == "Well."
