"""Grafana's dashboards as data; `python -m runcast_dashboards` writes them as JSON."""
