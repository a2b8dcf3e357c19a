"""Waiting for pipelines: one engine for `cmd-wait-pipeline` and for every `--wait`.

`wait` starts and waits, `options` adds the options, `targets` says what to wait for, `poll` when to
poll. `pipelines` has the records, `events` what happens; `show` shows it, `push` gives hints.
"""
