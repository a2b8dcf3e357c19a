"""The wire: GitLab's REST API, asked safely."""
