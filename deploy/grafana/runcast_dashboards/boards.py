"""All boards, and the files they are in."""

from pathlib import Path

from runcast_dashboards.gateway import GATEWAY
from runcast_dashboards.overview import OVERVIEW
from runcast_dashboards.panel import Board
from runcast_dashboards.store import STORE
from runcast_dashboards.worker import WORKER

FOLDER = Path(__file__).resolve().parents[1] / "dashboards"
BOARDS = (OVERVIEW, GATEWAY, WORKER, STORE)


def path_of(board: Board) -> Path:
    return FOLDER / f"{board.uid}.json"
