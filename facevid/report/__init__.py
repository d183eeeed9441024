"""The report: one HTML page on a dataset and its models, with pictures. It may import every package."""
