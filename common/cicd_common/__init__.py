"""What the ci-cd-commands share: one GitLab client, one set of options, one way to fail."""

import logging

__version__ = "0.1.0"

# From Python the commands print nothing, warnings included, unless the caller sets up logging.
logging.getLogger(__name__).addHandler(logging.NullHandler())
