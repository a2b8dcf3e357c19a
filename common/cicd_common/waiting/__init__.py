"""Waits for pipelines: `cmd-wait-pipeline` and every `--wait` use the same engine.

`wait` starts pipelines and waits for them, `options` adds the options, `targets` finds the
pipelines, and `poll` decides when to poll. `pipelines` holds the records, `events` what the engine
reports, `show` displays it, and `push` tells early that something changed.
"""
