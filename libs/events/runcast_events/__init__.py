"""Runcast's event log: one Redis Stream per session is the truth. Contract: docs/protocol.md."""
