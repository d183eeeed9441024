"""For researchers: 3D Morphable Models, cameras, and the landmark fit. No video, no Beam."""
