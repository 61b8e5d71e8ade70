"""What the tables of an agents file have in common: no key that is not known, no number that is none."""

from pydantic import ConfigDict

TABLE = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
