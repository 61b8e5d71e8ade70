"""A Prometheus, asked over its HTTP API."""

from dataclasses import dataclass
from math import isfinite
from typing import Any

import httpx2

TARGETS = 6


@dataclass(frozen=True, slots=True)
class Series:
    """`points`: time (Unix seconds) and value, those alone that are numbers."""

    labels: dict[str, str]
    points: list[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Prometheus:
    url: str

    async def sees_all(self) -> bool:
        async with httpx2.AsyncClient(base_url=self.url, trust_env=False, timeout=2) as http:
            try:
                ready = (await http.get("/-/ready")).is_success
            except httpx2.HTTPError:
                return False
        return ready and len(await self.ask("up == 1")) == TARGETS

    async def ask(self, expr: str) -> list[Series]:
        """Now. Raises httpx2.HTTPError."""
        found = await self._get("query", query=expr)
        return [Series(each["metric"], _numbers([each["value"]])) for each in found["result"]]

    async def over(self, expr: str, begin_s: float, end_s: float, step_s: float) -> list[Series]:
        found = await self._get("query_range", query=expr, start=begin_s, end=end_s, step=step_s)
        series = [Series(each["metric"], _numbers(each["values"])) for each in found["result"]]
        return [each for each in series if each.points]

    async def alerts(self) -> list[dict[str, Any]]:
        """Those that are pending or firing."""
        alerts: list[dict[str, Any]] = (await self._get("alerts"))["alerts"]
        return alerts

    async def firing(self, name: str) -> dict[str, Any] | None:
        found = [each for each in await self.alerts() if each["labels"]["alertname"] == name]
        return next((each for each in found if each["state"] == "firing"), None)

    async def has_fired(self, name: str) -> bool:
        """Now or lately."""
        return bool(await self.ask(f'last_over_time(ALERTS{{alertname="{name}", alertstate="firing"}}[10m])'))

    async def _get(self, what: str, **params: str | float) -> dict[str, Any]:
        async with httpx2.AsyncClient(base_url=self.url, trust_env=False, timeout=20) as http:
            answer = await http.get(f"/api/v1/{what}", params=params)
        assert answer.is_success, f"{params}: {answer.text}"
        data: dict[str, Any] = answer.json()["data"]
        return data


def _numbers(values: list[list[Any]]) -> list[tuple[float, float]]:
    return [(at, value) for at, text in values if isfinite(value := float(text))]
