"""The OpenAPI document, mended where FastAPI says what is not so: problems are never `application/json`."""

from typing import Any

from fastapi import FastAPI

from runcast_service.problem import MEDIA_TYPE


def document_problems(app: FastAPI) -> None:
    """Replace `app.openapi`, the way FastAPI documents for extending it."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = generate()
            for path in document["paths"].values():
                for operation in path.values():
                    _mend(operation["responses"])
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]


def _mend(responses: dict[str, Any]) -> None:
    for response in responses.values():
        if MEDIA_TYPE in response.get("content", {}):
            response["content"] = {MEDIA_TYPE: response["content"][MEDIA_TYPE]}
