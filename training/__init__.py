"""For trainers: DeepExp3D and the expression classifier, from the shards alone."""
