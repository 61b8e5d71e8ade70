"""`make dashboards`: write deploy/grafana/dashboards/*.json."""

from runcast_dashboards.boards import BOARDS, FOLDER, path_of
from runcast_dashboards.grafana import to_json

FOLDER.mkdir(exist_ok=True)
for board in BOARDS:
    path_of(board).write_text(to_json(board))
    print(path_of(board).name, len(board.panels), "panels")
