"""Waiting for pipelines: one engine for `cmd-wait-pipeline` and for every `--wait`.

`wait.wait_for` waits; `options.wait_options` adds the options; `finding` has what to wait for;
`model` has what is seen, told and returned; `show` shows it; `push` hints when to look.
"""
