"""Waiting for pipelines: one engine for `cmd-wait-pipeline` and for every `--wait`."""
