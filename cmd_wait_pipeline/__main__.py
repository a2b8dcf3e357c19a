"""`python -m cmd_wait_pipeline`."""

from cmd_wait_pipeline.cli import main

main()
