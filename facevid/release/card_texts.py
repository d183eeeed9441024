"""The passages of the card that are the same for every dataset."""

WHAT = """\
Parameters of 3D faces in videos: for every frame of every face track the expression, the camera and the landmarks,
and for every track the identity and where its video is from. They were found by fitting a 3D Morphable Model (3DMM)
to tracked landmarks, as Koujan et al. (FG 2020) described for FaceVid, by the open program of that name. All of it
is estimated by machines; nobody annotated it."""

CAMERA = """\
Pixels are those of the displayed picture (rotation and pixel aspect ratio applied): x right, y down, (0, 0) the
centre of the top-left pixel. The camera frame is x right, y down, z forward. The head frame is the face model's: x
to the subject's left, y up, z out of the face, millimetres. With `identity` i and `expression` e, in standard
deviations of the face model,

    head_mm = mean + U_id i + U_exp e
    q       = scale_px_per_mm * (R @ head_mm)              R from the unit quaternion rotation_wxyz
    px      = q[:2] + translation_px                       scaled orthographic, where focal_px is null;
    px      = c + (q[:2] + translation_px - c) / (1 + q[2] / focal_px)      perspective, where it is not,
    c       = ((width_px - 1) / 2, (height_px - 1) / 2)                     the middle of the picture

The face model, `face_model.npz`, is a file of numpy's: the mean is its `mean_mm`, U_id its `identity_basis_mm`, U_exp
its `expression_basis_mm`, each of all vertices, and `triangles` joins these to a surface. `e = 0` is its mean
expression, not the neutral face, which it has as `neutral_expression`. Times (`pts_s`) are presentation times in
seconds on the file's clock.

A landmark is the mean of three vertices, `landmarks/<scheme>/vertex_ids`, with the `weights` beside them; the scheme is
the tracks' `landmark_scheme`. A detector marks some points of a face consistently elsewhere than there: by
`calibration/<scheme>/offset_mm`, in the head frame, where the model knows it. Add it to the landmarks, as the fit did,
wherever they are compared with detected ones; it is no part of the face, so never add it to the vertices.

```python
import numpy
import pandas

frames, tracks = pandas.read_parquet("frames"), pandas.read_parquet("tracks")
model, scheme = numpy.load("face_model.npz"), tracks.landmark_scheme[0]
ids, weights = model[f"landmarks/{scheme}/vertex_ids"], model[f"landmarks/{scheme}/weights"]


def at_landmarks(vertices_mm):
    return (vertices_mm[..., ids, :] * weights[:, :, None]).sum(axis=-2)


marks_mm = at_landmarks(model["mean_mm"]) + model.get(f"calibration/{scheme}/offset_mm", 0)
U_id, U_exp = at_landmarks(model["identity_basis_mm"]), at_landmarks(model["expression_basis_mm"])


def fitted_landmarks(track, rows):
    # In the picture, (frames, points, 2), and the distance of the outer eye corners as if seen from the front, pixels.
    head_mm = marks_mm + numpy.tensordot(track.identity, U_id, 1)
    head_mm = head_mm + numpy.tensordot(numpy.stack(rows.expression), U_exp, 1)
    scale, turn = rows.scale_px_per_mm.to_numpy()[:, None, None], numpy.stack(rows.rotation_wxyz)[:, None]
    aside = 2 * numpy.cross(turn[..., 1:], head_mm)
    q = scale * (head_mm + turn[..., :1] * aside + numpy.cross(turn[..., 1:], aside))  # scale * (R @ head_mm)
    px = q[..., :2] + numpy.stack(rows.translation_px)[:, None]
    if pandas.notna(track.focal_px):
        c = (numpy.array([track.width_px, track.height_px]) - 1) / 2
        px = c + (px - c) / (1 + q[..., 2:] / track.focal_px)
    return px, numpy.linalg.norm(scale * (head_mm[:, [36]] - head_mm[:, [45]]), axis=-1)


whose = tracks.set_index(["video_id", "track"])
for key, rows in frames.groupby(["video_id", "track"]):
    px, outer_eye_px = fitted_landmarks(whose.loc[key], rows)
    away_px = numpy.linalg.norm(px - numpy.stack(rows.landmarks_px).reshape(px.shape), axis=-1)
    error = numpy.median(away_px[:, 17:68] / outer_eye_px, axis=1)  # rows.reprojection_error
```

Points 0 to 16 of the scheme `ibug68` are the outline of the face in the picture, which wanders over the cheek as the
head turns; the fit lets them, and this places them on the jaw."""

WITHOUT_MODEL = """\
**The face model is not part of this release**, as its licence does not say that it may be handed on. The tables can be
read without it; whoever wants heads, or to train DeepExp3D, gets the model of the name above from its makers, imports
it (`facevid model import`) and puts it here as `face_model.npz`: it is the right one if its sha256 is the one above."""

READING = """\
Plain Parquet: no code of ours is needed. A folder of shards is one table.

```python
import pandas

frames = pandas.read_parquet("frames")
tracks = pandas.read_parquet("tracks")
whose = tracks[["video_id", "track", "split", "identity"]]
both = frames[frames.kept].merge(whose, on=["video_id", "track"])
```

```sql
-- DuckDB, in this folder
SELECT split, count(*) AS frames
FROM 'frames/*.parquet' f JOIN 'tracks/*.parquet' t USING (video_id, track)
WHERE f.kept GROUP BY split;
```

```python
# Hugging Face. The split is a column of the tracks, so all rows are in one split of theirs.
import datasets

frames = datasets.load_dataset("PATH/OF/THIS/FOLDER", "frames", split="full")
```

```python
# Arrays by track, checked against the schema.
import facevid

for track in facevid.open(".").tracks(kept_only=True, split="train"):
    track.identity, track.expression    # (identity,) and (frames, expression)
```

`facevid verify .` compares every file with what `facevid.json` lists."""

AGAIN = """\
The tracks say where each video is from and which part of it was taken, so a manifest can be had from them:

```python
import pandas

columns = ["video_id", "url", "clip_start_s", "clip_end_s", "subject_id", "licence", "attribution", "split"]
rows = pandas.read_parquet("tracks", columns=columns).drop_duplicates("video_id")
names = {"clip_start_s": "start_s", "clip_end_s": "end_s"}
rows.rename(columns=names).to_csv("manifest.csv", index=False)
```

`facevid build manifest.csv --out again` makes the dataset again from what of the videos is still there; the options
stand in `facevid.json`. `source_sha256` says whether a video is the same file. Secrets were taken out of the
addresses, and of local files only the name stands there."""

LIMITS = """\
- These are estimates from landmarks in 2D: depth, and what the landmarks do not show (cheeks, wrinkles, tongue),
  come from the face model's prior. `expression_sigma` says how sure the fit is; `reprojection_error` and
  `holdout_error` say how well it explains the landmarks, not how close it is to the true face.
- Errors of the landmark detector that last through a video are taken for the face. A wide camera nearby bends faces
  in a way that the scaled-orthographic camera cannot follow.
- Track numbers are not persons: whether two tracks show the same one is known only where the manifest named a
  subject, and without that one person in two videos may fall into two splits.
- Standard deviations are those of the face model's prior, not of any population. Do not read identity coefficients
  as ancestry, sex, age or weight.
- A track's `reprojection_error`, `holdout_error`, `jitter` and appearance columns are over all frames that were
  fitted, kept or not."""

PERSONS = """\
The videos show real persons. Coefficients of a face are biometric data wherever they can be tied to somebody, and
the addresses here tie them: the law of the place may ask for a legal ground or consent (in the EU the GDPR,
Articles 6 and 9). Do not use them to recognise people, nor to infer what somebody feels, least of all at work or in
school, where the EU AI Act forbids it (Article 5(1)(f)). An expression is the shape of a face, not a feeling.
Whoever asks to be left out must be: keep a list of denied videos, and make the release anew with it (`facevid
release --deny-list`)."""

LICENCES = """\
What the manifest, or else the source, states of each video (column `licence` of the tracks; `attribution` says whom
to credit). It was copied, not checked, and holds for the video; whether it extends to numbers measured in it
differs by law."""

PAPER = """\
@inproceedings{koujan2020facevid,
  title     = {Real-time Facial Expression Recognition ``In The Wild'' by Disentangling
               {3D} Expression from Identity},
  author    = {Koujan, Mohammad Rami and Alharbawee, Luma and Giannakakis, Giorgos and
               Pugeault, Nicolas and Roussos, Anastasios},
  booktitle = {IEEE International Conference on Automatic Face and Gesture Recognition (FG)},
  year      = {2020},
  note      = {arXiv:2005.05509}
}"""
