"""What the ci-cd-commands share: one GitLab client, one set of options, one way to fail."""

__version__ = "0.1.0"
