"""Shares one GitLab client, one set of options and one set of errors between the commands."""

import logging

__version__ = "0.1.0"

# From Python the commands print nothing, warnings included, unless the caller sets up logging.
logging.getLogger(__name__).addHandler(logging.NullHandler())
