"""The FaceVid dataset: schema, storage, shards, reading, and the way in (command line and report)."""
