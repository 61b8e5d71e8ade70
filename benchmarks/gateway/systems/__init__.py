"""The gateway and its peers, each behind the same four questions: system.py."""
