"""Every exception that asking a model can raise has its kind, and says whether asking again may help."""

import pytest
from pydantic_ai import exceptions as wrong
from pydantic_ai.messages import ModelResponse, TextPart, ThinkingPart, ToolCallPart

from runcast_worker.engines.llm.faults import SAID_CHARS, fault_in, fault_of


@pytest.mark.parametrize(
    ("error", "kind", "again"),
    [
        (wrong.ModelRateLimitError("m", "slow down", retry_after=7), "model_rate_limit", True),
        (wrong.ModelQuotaExceededError("m", "pay"), "model_quota", False),
        (wrong.ModelOverloadedError("m", "busy"), "model_unavailable", True),
        (wrong.ModelServerError("m", "oops"), "model_error", True),
        (wrong.ModelTimeoutError("m", "slow"), "model_timeout", True),
        (wrong.ModelConnectionError("m", "refused"), "model_unreachable", True),
        (wrong.ModelAuthenticationError("m", "who?"), "model_auth", False),
        (wrong.ModelNotFoundError("m", "what?"), "model_not_found", False),
        (wrong.ModelContextWindowExceededError("m", "long"), "model_context", False),
        (wrong.ModelRequestRejectedError("m", "no"), "model_rejected", False),
        (wrong.UnexpectedModelBehavior("what"), "model_nonsense", True),
        (wrong.UserError("no key"), "model_setup", False),
    ],
)
def test_each_fault_has_its_kind(error: Exception, kind: str, again: bool) -> None:
    """The most exact one, although their classes are each other's children."""
    fault = fault_of(error, "stub")
    assert fault is not None
    assert (fault.kind, fault.again) == (kind, again)
    assert fault.sentence.startswith("stub: ")
    assert fault.after_s == (7 if kind == "model_rate_limit" else None)


def test_what_is_not_a_models_fault_is_none() -> None:
    """A lost lease, or an error of ours, is not to be asked again."""
    assert fault_of(RuntimeError("ours"), "stub") is None


def test_a_providers_words_are_bounded() -> None:
    """Some answer with a page of HTML."""
    fault = fault_of(wrong.ModelServerError("m", "x" * 10_000), "stub")
    assert fault is not None
    assert len(fault.sentence) < SAID_CHARS + 100


@pytest.mark.parametrize(
    ("response", "kind"),
    [
        (ModelResponse([TextPart("hello")], finish_reason="stop"), None),
        (ModelResponse([ToolCallPart("shell", "{}")], finish_reason="tool_call"), None),
        (ModelResponse([TextPart("hel")]), "model_cut"),
        (ModelResponse([TextPart("hel")], finish_reason="length"), "model_output_limit"),
        (ModelResponse([TextPart("")], finish_reason="stop"), "model_empty"),
        (ModelResponse([ThinkingPart("hm")], finish_reason="stop"), "model_empty"),
        (ModelResponse([], finish_reason="content_filter"), "model_content_filter"),
    ],
)
def test_an_answer_that_is_none_is_a_fault(response: ModelResponse, kind: str | None) -> None:
    """Cut, empty, or stopped: never taken for the whole."""
    fault = fault_in(response, "stub")
    assert (fault and fault.kind) == kind
