"""Container registries: finding the logins that exist, logging in, and asking for images."""
