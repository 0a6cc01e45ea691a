"""Weight files of this suite and the registry of those that others publish (`registry.yaml`)."""
