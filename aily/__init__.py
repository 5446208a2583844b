"""Settings, entry points and infrastructure of the project."""
