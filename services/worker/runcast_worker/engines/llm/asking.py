"""Asking a model until it has answered: again where that is safe, another model where it is not, else a clear end."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from time import monotonic

from pydantic_ai.direct import model_request_stream
from pydantic_ai.messages import ModelResponse
from pydantic_ai.models import Model, ModelRequestParameters, StreamedResponse
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.settings import ModelSettings

from runcast_events.events import IterationReset, TokenUsage, Usage
from runcast_service.tracing import current_span, entered
from runcast_worker.engines import EngineError, EngineTask
from runcast_worker.engines.llm.faults import Fault, fault_in, fault_of
from runcast_worker.engines.llm.history import History
from runcast_worker.engines.llm.outbox import Outbox
from runcast_worker.engines.llm.parts import Parts, TooLong
from runcast_worker.engines.llm.silence import bounded_silence
from runcast_worker.spans import model_span, model_usage
from runcast_worker.usage import total

logger = logging.getLogger(__name__)

LONGEST_WAIT_S = 60.0
"""A provider that asks to wait longer has the task fail, to be tried again later: it would hold a worker's place."""


@dataclass(frozen=True, slots=True)
class AskingLimits:
    """`silence_s`: a model that says nothing for this long is given up. `retries`: of one iteration and model."""

    silence_s: float
    retries: int
    first_wait_s: float = 0.5


class Asking:
    """The models of one task. `models`: their names in the order of preference; one that failed for good is not asked
    again. `get`: makes one when its turn comes."""

    def __init__(
        self,
        models: Sequence[str],
        get: Callable[[str], Awaitable[Model]],
        task: EngineTask,
        limits: AskingLimits,
        outbox: Outbox,
    ) -> None:
        self._models, self._get, self._limits, self._outbox = list(models), get, limits, outbox
        self._attempt, self._metrics = task.record.attempt, task.metrics
        # The SDK's own retries are ours, which tell what happens; and so is the bound on silence: keep-alives put a
        # read timeout off.
        settings: ModelSettings = {"timeout": 2 * limits.silence_s, "max_retries": 0}
        settings.update(task.agent.model_settings)  # type: ignore[typeddict-item]
        self._settings = settings

    async def ask(
        self, iteration: int, history: History, offered: ModelRequestParameters
    ) -> tuple[ModelResponse, Usage]:
        """The answer, and what all that was asked for it took. Raises EngineError, of the kind of the last fault. A
        failed answer is followed by an iteration_reset before it is asked again: no tool has run of it, so nothing is
        done twice."""
        retries, ask = 0, 0
        usage = Usage()
        while True:
            ask += 1
            name = self._models[0]
            parts = Parts(iteration, self._attempt, ask, self._outbox)
            began = monotonic()
            with entered(model_span(name)) as span:
                response, took, fault = await self._once(iteration, name, history, offered, parts)
                span.set(model_usage(took))
                if fault is not None:
                    span.fail(fault.kind)
            outcome = "ok" if fault is None else fault.kind
            self._metrics.model_seconds.labels(name, outcome).observe(monotonic() - began)
            usage = total((usage, took))
            if fault is None and response is not None:
                return response, usage
            assert fault is not None
            wait_s = self._wait_s(fault, retries)
            logger.warning("model fault: %s", fault.kind, extra={"model": name, "asked": ask})
            if fault.again and retries < self._limits.retries and wait_s <= LONGEST_WAIT_S:
                retries += 1
                await self._reset(iteration, fault)
                await asyncio.sleep(wait_s)
            elif fault.kind == "model_context" and history.forget():
                await self._reset(iteration, fault)
            elif len(self._models) > 1:
                self._models.pop(0)
                retries = 0
                await self._reset(iteration, fault)
            else:
                raise EngineError(fault.sentence, fault.kind, retryable=fault.retryable)

    async def _once(
        self,
        iteration: int,
        name: str,
        history: History,
        offered: ModelRequestParameters,
        parts: Parts,
    ) -> tuple[ModelResponse | None, Usage, Fault | None]:
        response: ModelResponse | None = None
        stream: StreamedResponse | None = None
        began, silent = monotonic(), True
        try:
            model = await self._get(name)
            current_span().set({"gen_ai.provider.name": model.system})
            async with (
                bounded_silence(self._limits.silence_s) as silence,
                model_request_stream(
                    model, history.messages, model_settings=self._settings, model_request_parameters=offered
                ) as stream,
            ):
                async for event in stream:
                    if silent:
                        silent = False
                        self._metrics.model_first_token_seconds.labels(name).observe(monotonic() - began)
                    silence.ours()  # it may be held up by whoever takes the events
                    await parts.see(event)
                    silence.heard()
                response = stream.get()
            fault = fault_in(response, name, whole=_whole(model, response))
            if fault is None:
                await parts.close()
        except TooLong as error:
            fault = Fault("model_output_limit", f"{name}: {error}")
        except EngineError as error:  # it cannot be made: another may
            fault = Fault(error.kind, str(error))
        except Exception as error:
            fault = fault_of(error, name)
            if fault is None:
                raise
        took = await self._told(name, iteration, stream)
        return response, took, fault

    async def _told(self, name: str, iteration: int, stream: StreamedResponse | None) -> Usage:
        """Tell what the request took, also where it failed half way."""
        usage = None if stream is None else stream.usage
        if stream is None or usage is None or not (usage.input_tokens or usage.output_tokens):
            return Usage()
        took = Usage(
            input=usage.input_tokens,
            output=usage.output_tokens,
            cached=usage.cache_read_tokens,
            cost_usd=_cost(stream.get()),
        )
        self._metrics.count_usage(name, took)
        await self._outbox.put(TokenUsage(iteration=iteration, model=name, **took.model_dump()))
        return took

    async def _reset(self, iteration: int, fault: Fault) -> None:
        await self._outbox.put(IterationReset(iteration=iteration, reason=fault.kind))

    def _wait_s(self, fault: Fault, retries: int) -> float:
        """Full jitter, so that a provider's many clients do not come back at once; never sooner than it asked for."""
        drawn = random.uniform(0, min(20.0, self._limits.first_wait_s * 2**retries))  # noqa: S311
        return drawn if fault.after_s is None else fault.after_s + min(drawn, 1.0)


def _whole(model: Model, response: ModelResponse) -> bool:
    """Where Chat Completions end without a reason pydantic-ai makes one up, since a few servers never send it; but
    that is how a stream looks that a proxy cut."""
    details = response.provider_details or {}
    return not isinstance(model, OpenAIChatModel) or "finish_reason" in details or "refusal" in details


def _cost(response: ModelResponse) -> float | None:
    """In US dollars; None where the price is not known. genai-prices knows them offline."""
    try:
        price: Decimal = response.cost().total_price
    except (LookupError, ValueError, AssertionError):
        return None
    return float(price)
