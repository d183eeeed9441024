"""From pixels to landmark tracks. No Beam, no network, none of our other packages."""
