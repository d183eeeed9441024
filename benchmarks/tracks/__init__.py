"""The faces of videos, measured: cuts, people, small faces, landmarks, speed, memory. See `__main__`."""
