"""deploy/routes.toml: which service answers which path. Pure, but for reading the file."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

from runcast_local.errors import InvalidRoutes

SERVICES = ("api", "gateway")


@dataclass(frozen=True, slots=True)
class Routes:
    """Prefix and service, the longest prefix first."""

    table: tuple[tuple[str, str], ...]

    def service(self, path: str) -> str:
        """Who answers `path`: the service of the longest prefix that covers it."""
        return next(s for prefix, s in self.table if path == prefix or path.startswith(prefix.rstrip("/") + "/"))


def load_routes(path: Path) -> Routes:
    """Raises InvalidRoutes."""
    try:
        table = dict(tomllib.loads(path.read_text())["routes"])
    except OSError as error:
        raise InvalidRoutes(f"{path}: cannot be read: {error.strerror}") from error
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidRoutes(f"{path}: expected TOML with a table [routes]: {error}") from error
    for prefix, service in table.items():
        if not prefix.startswith("/") or service not in SERVICES:
            raise InvalidRoutes(f"{path}: {prefix!r} = {service!r}: expected a path = one of {', '.join(SERVICES)}")
    if "/" not in table:
        raise InvalidRoutes(f'{path}: the prefix "/" is missing: some paths would have no service')
    return Routes(tuple(sorted(table.items(), key=lambda row: -len(row[0]))))
