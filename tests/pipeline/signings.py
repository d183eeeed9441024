"""Links to one file, each signed on two days, as the tools of their clouds write them; the keys are made up."""

_V4 = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAEXAMPLE%2F{day}%2Feu-west-1%2Fs3%2Faws4_request"
_GOOG = "X-Goog-Algorithm=GOOG4-RSA-SHA256&X-Goog-Credential=a%40b.iam.gserviceaccount.com%2F{day}%2Fauto%2Fstorage"
_LINKS = {
    "aws v4": "https://b.s3.amazonaws.com/t/c%201.mp4?" + _V4 + "%2Fx&X-Amz-Date={day}T070000Z&X-Amz-Expires=3600"
    "&X-Amz-SignedHeaders=host;range&X-Amz-Security-Token=t{key}&X-Amz-Signature={key}",
    "aws v2": "https://b.s3.amazonaws.com/t/c.mp4?AWSAccessKeyId=AKIAEXAMPLE&Signature={key}%3D&Expires=17{day}"
    "&x-amz-security-token={key}",
    "gcs": "https://storage.googleapis.com/b/t/c.mp4?" + _GOOG + "%2Fgoog4_request&X-Goog-Date={day}T070000Z"
    "&X-Goog-Expires=900&X-Goog-SignedHeaders=host&X-Goog-Signature={key}",
    "azure": "https://a.blob.core.windows.net/t/c.mp4?sp=r&st=2026-11-01T00:00:00Z&se={day}T00:00:00Z&skoid=1-2&sktid=3-4"
    "&skt={day}&ske={day}&sks=b&skv=2022-11-02&spr=https&sv=2022-11-02&sr=b&sig={key}%2F%3D",
    "cloudfront": "https://d111.cloudfront.net/t/c.mp4?Expires=17{day}&Signature={key}__&Key-Pair-Id=K2{day}",
}
SIGNED_TWICE = {
    name: (link.format(day="20261101", key="a1b2"), link.format(day="20261104", key="c3d4"))
    for name, link in _LINKS.items()
}
"""By cloud."""
