"""Sends requests to GitLab's REST API safely."""

import logging

# From Python the commands print nothing, warnings included, unless the caller sets up logging.
logging.getLogger("cicd_common").addHandler(logging.NullHandler())
