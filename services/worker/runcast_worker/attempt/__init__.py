"""One attempt at a task: what it is given, how it runs, what it writes and how it ends."""
