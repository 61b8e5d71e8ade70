"""Whoever looks after tasks that nobody looks after."""
