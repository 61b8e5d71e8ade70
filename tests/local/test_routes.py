"""The table of routes: the repository's own, and what is refused."""

from pathlib import Path

import pytest

from runcast_local.errors import InvalidRoutes
from runcast_local.routes import load_routes
from runcast_local.settings import EdgeSettings


def test_the_table_of_the_repository_gives_streams_to_the_gateway_and_the_rest_to_the_api() -> None:
    """deploy/routes.toml is what the edge reads unless told otherwise."""
    routes = load_routes(EdgeSettings().routes_file)
    answered = {
        path: routes.service(path) for path in ("/stream/tasks/s1.abc", "/stream", "/streams", "/api/tasks", "/")
    }
    assert answered == {
        "/stream/tasks/s1.abc": "gateway",
        "/stream": "gateway",
        "/streams": "api",
        "/api/tasks": "api",
        "/": "api",
    }


def test_the_longest_prefix_decides(tmp_path: Path) -> None:
    """Whatever the order in the file."""
    file = tmp_path / "routes.toml"
    file.write_text('[routes]\n"/" = "api"\n"/a" = "gateway"\n"/a/b" = "api"\n')
    routes = load_routes(file)
    assert [routes.service(path) for path in ("/a/x", "/a/b/c", "/a/bc", "/x")] == ["gateway", "api", "gateway", "api"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[routes]\n"/x" = "api"', '"/" is missing'),
        ('[routes]\n"/" = "apy"', "expected a path = one of api, gateway"),
        ('[routes]\n"x" = "api"', "expected a path"),
        ("routes = 3", "expected TOML with a table"),
        ("[paths]", "expected TOML with a table"),
        ("[routes", "expected TOML"),
    ],
)
def test_a_wrong_table_is_refused_with_what_was_expected(tmp_path: Path, text: str, said: str) -> None:
    """At start, not at the first request."""
    file = tmp_path / "routes.toml"
    file.write_text(text)
    with pytest.raises(InvalidRoutes, match=said):
        load_routes(file)


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    """Somebody who runs the edge from elsewhere learns which file it wanted."""
    with pytest.raises(InvalidRoutes, match=r"none\.toml: cannot be read"):
        load_routes(tmp_path / "none.toml")
