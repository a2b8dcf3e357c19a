"""Contains the command-line code that all commands share."""
