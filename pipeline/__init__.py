"""For data engineers: from a manifest of videos to the shards of a FaceVid dataset."""
