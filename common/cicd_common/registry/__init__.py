"""Finds logins for container registries, logs in, and reads images and tags."""
