"""`python -m cmd_trigger_pipeline`."""

from cmd_trigger_pipeline.cli import main

main()
