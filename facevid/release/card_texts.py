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
    px      = q[:2] + translation_px                       scaled orthographic, where focal_px is null
    px      = c + (q[:2] + translation_px - c) / (1 + q[2] / focal_px),   c = ((width_px - 1) / 2, (height_px - 1) / 2)

`e = 0` is the model's mean expression, not the neutral face: the model's file has that as `neutral_expression`.
Times (`pts_s`) are presentation times in seconds on the file's clock."""

READING = """\
Plain Parquet: no code of ours is needed.

```python
import pandas

frames = pandas.read_parquet("frames")          # a folder of shards is one table; so with polars.read_parquet
tracks = pandas.read_parquet("tracks")
both = frames.merge(tracks[["video_id", "track", "split", "identity"]], on=["video_id", "track"])
```

```sql
SELECT t.split, count(*) FROM 'frames/*.parquet' f JOIN 'tracks/*.parquet' t USING (video_id, track)
WHERE f.kept GROUP BY t.split;                  -- DuckDB, in this folder
```

```python
import datasets                                  # Hugging Face; `full`, as the splits are a column of the tracks

frames = datasets.load_dataset("PATH/OF/THIS/FOLDER", "frames", split="full")
```

```python
import facevid                                   # arrays by track, checked against the schema

for track in facevid.open(".").tracks(kept_only=True, split="train"):
    track.identity, track.expression             # (identity,) and (frames, expression)
```

`facevid verify .` compares every file with what `facevid.json` lists."""

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
  title     = {Real-time Facial Expression Recognition ``In The Wild'' by Disentangling {3D} Expression from Identity},
  author    = {Koujan, Mohammad Rami and Alharbawee, Luma and Giannakakis, Giorgos and Pugeault, Nicolas and
               Roussos, Anastasios},
  booktitle = {IEEE International Conference on Automatic Face and Gesture Recognition (FG)},
  year      = {2020},
  note      = {arXiv:2005.05509}
}"""
