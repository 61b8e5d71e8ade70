"""A model that fails in every way: asked again where that is safe, another one where there is, else a clear end."""

from time import monotonic

import pytest

from runcast_local.model import (
    Answer,
    Call,
    Cut,
    KeepAlive,
    Pause,
    Raw,
    Refusal,
    Say,
    Silence,
    Stall,
    Turn,
    says,
    thinks,
)
from runcast_tasks.conversation import Message
from runcast_worker.engines.llm import parts as parts_module
from tests.worker.llm.conftest import Play

WELL = Turn(says("All is well."))
HALF = [*thinks("Let me see."), *says("I begin, but")]


@pytest.mark.parametrize(
    "fault",
    [
        Refusal(429, "slow down", code="rate_limit_exceeded"),
        Refusal(500),
        Refusal(503, "overloaded"),
        Silence(),
        Turn([*HALF, Stall()]),
        Turn([*HALF, *[KeepAlive()] * 100], pause_s=0.05),
        Turn([*HALF, Cut()]),
        Turn([*HALF, Cut(clean=True)]),
        Turn([*HALF, Raw('{"choices": [{"delta": {"content": "unfin')]),
        Turn([*HALF, Raw('{"choices": "none", "object": 7}')]),
        Turn([*HALF, Raw('{"error": {"message": "died", "type": "server_error"}}')]),
        Turn([]),
    ],
    ids=[
        "429",
        "500",
        "503",
        "silence",
        "stall",
        "keep-alives",
        "cut",
        "half",
        "nonsense",
        "no chunk",
        "error",
        "empty",
    ],
)
async def test_a_fault_that_may_pass_is_asked_again(play: Play, fault: Answer) -> None:
    """Whatever it said before; the answer is the whole of the second one. That it is asked again is told, and why."""
    play.stub.scripts["mine"] = [fault, WELL]
    await play("go")
    assert play.error is None
    assert play.answer == "All is well."
    assert len(play.stub.asked) == 2
    (reset,) = play.of("iteration_reset")
    assert reset.reason.startswith("model_")


@pytest.mark.parametrize(
    ("fault", "kind", "retryable", "asked"),
    [
        (Refusal(429, "slow down", code="rate_limit_exceeded"), "model_rate_limit", True, 3),
        (Refusal(429, "pay", code="insufficient_quota"), "model_quota", False, 1),
        (Refusal(500), "model_error", True, 3),
        (Refusal(401, code="invalid_api_key"), "model_auth", False, 1),
        (Refusal(404, code="model_not_found"), "model_not_found", False, 1),
        (Refusal(400, "too long", code="context_length_exceeded"), "model_context", False, 1),
        (Refusal(400, "what?"), "model_rejected", False, 1),
        (Turn([*HALF, Cut()]), "model_unreachable", True, 3),
        (Turn([*HALF, Cut(clean=True)]), "model_cut", True, 3),
        (Turn(HALF, finish="length"), "model_output_limit", False, 1),
        (Turn(HALF, finish="content_filter"), "model_content_filter", False, 1),
        (Turn([]), "model_empty", True, 3),
        (Turn([*HALF, Raw("nonsense")]), "model_nonsense", True, 3),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_fault_that_lasts_ends_the_task_by_its_kind(
    play: Play, fault: Answer, kind: str, retryable: bool, asked: int
) -> None:
    """With a sentence that names the model, and without asking more often than may help."""
    play.stub.scripts["mine"] = lambda _: fault
    await play("go")
    assert play.error is not None
    assert (play.error.kind, play.error.retryable) == (kind, retryable), str(play.error)
    assert str(play.error).startswith("mine: ")
    assert len(play.stub.asked) == asked


async def test_a_server_that_is_not_there_is_said_so(play: Play, unused_tcp_port: int) -> None:
    """A wrong RUNCAST_LLM_BASE_URL is a common mistake."""
    play.base_url = f"http://127.0.0.1:{unused_tcp_port}/v1"
    await play("go")
    assert play.error is not None
    assert (play.error.kind, play.error.retryable) == ("model_unreachable", True)


async def test_the_wait_that_a_provider_asks_for_is_kept(play: Play) -> None:
    """Retry-After of a 429. One that is too long fails the task, to be tried again later."""
    play.stub.scripts["mine"] = [Refusal(429, "wait", retry_after_s=1), WELL]
    began = monotonic()
    await play("go")
    assert play.error is None
    assert monotonic() - began >= 1
    play.stub.scripts["mine"] = lambda _: Refusal(429, "wait long", retry_after_s=3600)
    began = monotonic()
    await play("go")
    assert play.error is not None
    assert play.error.retryable
    assert monotonic() - began < 5


async def test_another_model_takes_over_and_is_kept(play: Play) -> None:
    """For good: the first one is not asked again in the next iteration."""
    play.stub.scripts["first"] = lambda _: Refusal(401)
    play.stub.scripts["second"] = [Turn([Call("list_files")]), Turn(says("From the second."))]
    await play("go", model="first", fallback_models=["second"])
    assert play.answer == "From the second."
    assert [asked.model for asked in play.stub.asked] == ["first", "second", "second"]
    assert {usage.model for usage in play.of("token_usage")} == {"second"}


async def test_when_all_models_fail_the_last_ones_fault_is_told(play: Play) -> None:
    """The others' are in the log of the worker."""
    play.stub.scripts["first"] = lambda _: Refusal(500)
    play.stub.scripts["second"] = lambda _: Refusal(401)
    await play("go", model="first", fallback_models=["second"])
    assert play.error is not None
    assert (play.error.kind, len(play.stub.asked)) == ("model_auth", 4)


async def test_no_tool_runs_of_an_answer_that_broke_off(play: Play) -> None:
    """The call was whole, the answer was not: asked again, it is made once."""
    call = Call("shell", {"command": "echo x >> made; cat made"})
    play.stub.scripts["mine"] = [Turn([call, Cut(clean=True)]), Turn([call]), Turn(says("Done."))]
    await play("go")
    (end,) = play.of("tool_call_complete")
    assert end.result["output"] == "x\n"


async def test_a_conversation_that_is_too_long_is_shortened(play: Play) -> None:
    """Its older half is left out, until the model takes it; the task's own part never is."""
    earlier = [Message("user" if i % 2 == 0 else "assistant", f"message {i}", "s1.a") for i in range(8)]
    too_long = Refusal(400, "too long", code="context_length_exceeded")
    play.stub.scripts["mine"] = [too_long, too_long, WELL]
    await play("go", conversation=earlier)
    assert play.answer == "All is well."
    said = [[m["content"] for m in asked.messages if m["role"] != "system"] for asked in play.stub.asked]
    assert [len(each) for each in said] == [9, 5, 3]
    assert said[2] == ["message 6", "message 7", "go"]


async def test_a_slow_model_is_not_a_silent_one(play: Play) -> None:
    """The bound is on the silence, not on the answer."""
    play.stub.scripts["mine"] = [Turn([piece for word in ["a", "b", "c", "d"] for piece in (Pause(0.3), Say(word))])]
    await play("go")
    assert play.answer == "abcd"
    assert len(play.stub.asked) == 1


@pytest.mark.parametrize(
    ("model", "agent", "said"),
    [
        ("nobody:knows", {}, "nobody"),
        ("anthropic:claude-x", {}, "ANTHROPIC_API_KEY"),
    ],
)
async def test_a_model_that_cannot_be_asked_is_said_at_once(
    play: Play, model: str, agent: dict[str, object], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unknown provider's name is a model's own at RUNCAST_LLM_BASE_URL; a missing key is named."""
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    await play("go", model=model, **agent)
    assert play.error is not None
    assert play.error.kind in ("model_setup", "model_not_found")
    assert said in str(play.error)


async def test_a_fallback_that_cannot_be_asked_does_no_harm(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is made when its turn comes; and a first model that cannot be asked is passed over."""
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    play.stub.scripts["mine"] = lambda _: WELL
    await play("go", model="mine", fallback_models=["anthropic:claude-x"])
    assert play.answer == "All is well."
    await play("go", model="anthropic:claude-x", fallback_models=["mine"])
    assert play.answer == "All is well."


async def test_an_answer_that_does_not_end_is_given_up(play: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    """Text, and arguments of a call: what it costs would only be known when it ends."""
    monkeypatch.setattr(parts_module, "ANSWER_CHARS", 1000)
    for turn in (Turn([Say("x" * 100)] * 20), Turn([Call("shell", {"command": "x" * 2000})])):
        play.stub.scripts["mine"] = lambda _, turn=turn: turn  # type: ignore[misc]
        await play("go")
        assert play.error is not None
        assert play.error.kind == "model_output_limit"


async def test_a_provider_is_quoted_not_its_library(play: Play) -> None:
    """In its own words, once."""
    play.stub.scripts["mine"] = [Refusal(401, "Incorrect API key provided.", code="invalid_api_key")]
    await play("go")
    assert str(play.error) == "mine: it refused the key in the worker's environment: Incorrect API key provided."
