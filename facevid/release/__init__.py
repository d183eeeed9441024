"""What a dataset needs to be handed on: its card and metadata, releases of it, and the check of one that came."""
