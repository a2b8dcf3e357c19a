"""`python -m cmd_tag_project`."""

from cmd_tag_project.cli import main

main()
