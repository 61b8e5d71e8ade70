"""The board of a session, as an attempt writes it."""

from runcast_tasks.board import Board

__all__ = ["Board"]
