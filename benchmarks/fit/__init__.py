"""The landmark fit on videos with known truth: beside the floor, its peers, and what it must reach."""
