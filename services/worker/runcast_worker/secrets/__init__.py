"""What the worker knows and nobody may read: found, and filtered out of whatever leaves it."""
