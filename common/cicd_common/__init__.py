"""Shares one GitLab client, one set of options and one set of errors between the commands."""

__version__ = "0.1.0"

# In seconds. They are here because --help shows them, and what uses them is slow to import.
DEFAULT_REQUEST_TIMEOUT = 30.0
DEFAULT_RETRY_FOR = 60.0
