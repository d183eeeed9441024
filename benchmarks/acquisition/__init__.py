"""Acquisition at its worst: a server that misbehaves, poison, attackers, kills, and what becomes of every row."""
