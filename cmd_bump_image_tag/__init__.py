"""`cmd-bump-image-tag`: set an image's tag in the YAML files of a repository."""
