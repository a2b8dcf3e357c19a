"""Reading YAML and changing single values of its text, without touching another byte."""
