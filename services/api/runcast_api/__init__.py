"""The api service: the only door for commands. It accepts tasks, answers questions, and holds no stream open."""
