"""Reads YAML and changes single values in its text without changing another byte."""
