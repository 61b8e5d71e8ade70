"""Adding up what models took. Pure."""

from collections.abc import Iterable

from runcast_events.events import TokenUsage, Usage


def total(every: Iterable[Usage | TokenUsage]) -> Usage:
    """Summed. The cost is None where there was no usage, or one of unknown price: a sum that leaves something out would
    be a lie."""
    took = [usage for usage in every if usage.input or usage.output]
    known = [usage.cost_usd for usage in took if usage.cost_usd is not None]
    return Usage(
        input=sum(usage.input for usage in took),
        output=sum(usage.output for usage in took),
        cached=sum(usage.cached for usage in took),
        cost_usd=sum(known) if took and len(known) == len(took) else None,
    )
