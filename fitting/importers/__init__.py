"""Face models of others, read into ours."""
