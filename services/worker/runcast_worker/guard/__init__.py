"""The guard: a small parent that each command of the sandbox has for itself, a program of its own.

Standard library only, and nothing of the worker's: it has to start in milliseconds, once per command. What is said
between it and the worker: runcast_worker.sandbox.child.
"""
