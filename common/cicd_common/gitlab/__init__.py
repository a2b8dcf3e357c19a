"""Sends requests to GitLab's REST API safely."""
