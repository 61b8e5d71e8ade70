"""Runcast's tasks: the record, submitting, claim and lease, control requests, and the queue."""
