"""One try at one video: yt-dlp held to the lease of a video, formats, opt-outs, partial files, buckets."""
