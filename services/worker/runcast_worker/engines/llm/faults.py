"""What can go wrong with a model: a kind for programs, a sentence for people, and what may help."""

from dataclasses import dataclass

from pydantic_ai import exceptions as wrong
from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart

SAID_CHARS = 500
"""Of a provider's own words this much is shown."""


@dataclass(frozen=True, slots=True)
class Fault:
    """`again`: asking the same again may help. `retryable`: so may the whole task, later. `after_s`: what the provider
    asked to wait."""

    kind: str
    sentence: str
    again: bool = False
    retryable: bool = False
    after_s: float | None = None


# The first that fits. Of each: kind, whether asking again may help, whether the task may be tried later, the sentence.
_KINDS: tuple[tuple[type[Exception], str, bool, bool, str], ...] = (
    (wrong.ModelQuotaExceededError, "model_quota", False, False, "its quota or credit is used up"),
    (wrong.ModelRateLimitError, "model_rate_limit", True, True, "its rate limit was reached"),
    (wrong.ModelUnavailableError, "model_unavailable", True, True, "it is not available now"),
    (wrong.ModelAuthenticationError, "model_auth", False, False, "it refused the key in the worker's environment"),
    (wrong.ModelNotFoundError, "model_not_found", False, False, "the provider does not know it"),
    (wrong.ModelContextWindowExceededError, "model_context", False, False, "the conversation is too long for it"),
    (wrong.ModelRequestRejectedError, "model_rejected", False, False, "it refused the request"),
    (TimeoutError, "model_timeout", True, True, "it said nothing for too long"),
    (wrong.ModelTimeoutError, "model_timeout", True, True, "it said nothing for too long"),
    (wrong.ModelRequestTimeout, "model_timeout", True, True, "it did not answer in time"),
    (wrong.ModelConnectionError, "model_unreachable", True, True, "the connection to it failed"),
    (wrong.ModelAPIError, "model_error", True, True, "the provider failed"),
    (wrong.ContentFilterError, "model_content_filter", False, False, "the provider's filter stopped the answer"),
    (wrong.UnexpectedModelBehavior, "model_nonsense", True, True, "its answer makes no sense"),
    (wrong.UserError, "model_setup", False, False, "it cannot be asked with these settings"),
    (ValueError, "model_nonsense", True, True, "its answer makes no sense"),
    # What pydantic-ai stumbles over in JSON that is no chunk.
    (AttributeError, "model_nonsense", True, True, "its answer makes no sense"),
    (TypeError, "model_nonsense", True, True, "its answer makes no sense"),
    (LookupError, "model_nonsense", True, True, "its answer makes no sense"),
)


def fault_of(error: Exception, model: str) -> Fault | None:
    """Of an exception that asking raised. None: it is not a model's."""
    if isinstance(error.__cause__, ValueError):  # an answer that could not be read comes as any other error
        return Fault("model_nonsense", f"{model}: its answer makes no sense: {said(error)}", again=True, retryable=True)
    for kind, name, again, retryable, sentence in _KINDS:
        if isinstance(error, kind):
            after_s = error.retry_after if isinstance(error, wrong.ModelAPIError) else None
            return Fault(name, f"{model}: {sentence}: {said(error)}", again, retryable, after_s)
    return None


def fault_in(response: ModelResponse, model: str, *, whole: bool = True) -> Fault | None:
    """Of an answer that came without an exception. None: it is a good one. `whole`: its stream said that it ended."""
    reason = response.finish_reason
    if reason == "length":
        sentence = f"{model}: its answer was cut at its output limit; give it more with model_settings.max_tokens"
        return Fault("model_output_limit", sentence)
    if reason == "content_filter":
        return Fault("model_content_filter", f"{model}: the provider's filter stopped the answer")
    if not whole or reason is None or reason == "error":
        return Fault("model_cut", f"{model}: its stream ended before the answer did", again=True, retryable=True)
    if not any(
        isinstance(part, ToolCallPart) or (isinstance(part, TextPart) and part.content) for part in response.parts
    ):
        return Fault("model_empty", f"{model}: it answered with nothing", again=True, retryable=True)
    return None


def said(error: Exception) -> str:
    """In the provider's words, where it has some."""
    body = getattr(error, "body", None)
    told = body.get("message") if isinstance(body, dict) else None
    words = told if isinstance(told, str) and told else str(error) or type(error).__name__
    words = words.partition(" To try Pydantic AI")[0]  # a hint for whoever writes a program with it
    return words if len(words) <= SAID_CHARS else f"{words[:SAID_CHARS]} …"
