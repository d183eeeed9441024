"""Fits to hold the two-stage fit against: textbook methods and the paper's own, in plain numpy, one track at a time."""
