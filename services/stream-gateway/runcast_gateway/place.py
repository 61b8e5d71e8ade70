"""A stream's place among those that a process holds."""


class Place:
    """One stream's place among those that there may be: taken before anything is waited for, and left once. `refused`:
    why there is none, `process_full` or `principal_full`."""

    __slots__ = ("principal", "refused")

    def __init__(self, principal: str, refused: str | None) -> None:
        self.principal, self.refused = principal, refused
