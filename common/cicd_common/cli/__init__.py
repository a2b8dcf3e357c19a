"""The command line that all commands share."""
