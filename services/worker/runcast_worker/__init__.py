"""Runcast's worker: claims tasks, runs their agents, and appends everything they do to the event log."""
