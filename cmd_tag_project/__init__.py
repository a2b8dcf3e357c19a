"""`cmd-tag-project`: create a tag in another GitLab project."""
