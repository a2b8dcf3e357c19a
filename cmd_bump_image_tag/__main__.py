"""`python -m cmd_bump_image_tag`."""

from cmd_bump_image_tag.cli import main

main()
