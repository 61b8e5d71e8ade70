"""The stream gateway beside its peers: one load client, the same payloads, in turns. README.md of benchmarks."""
