"""The model card that goes with a trained DeepExp3D."""

import re
from typing import Any

from training.sources import licences_in_words

_MOST_ANCESTORS = 10
_CARD = """---
license: other
tags: [face, 3dmm, expression, deepexp3d]
---

# DeepExp3D ({preset})

One photo of a face in, {n_expression} coefficients of 3D facial expression out, in the style of DeepExp3D (Koujan
et al., FG 2020): trained on coefficients that a 3D face model was fitted with to videos. It is a reimplementation;
the authors released no weights.

- **Input**: a {side_px} x {side_px} crop, uint8, red, green, blue, registered by a similarity transform to the 68-point
  template that `config.json` holds (`input.registration`, with the order of the points). The training crops were
  registered by landmarks of the scheme `{landmark_scheme}`. Pixels are normalised inside the network.
- **Output**: expression coefficients of the face model `{face_model}`
  (sha256 `{face_model_sha256}`), standard deviations. Zero
  is this model's mean expression, not the neutral face. With another face model they mean nothing.
- **Files**: `model.safetensors` + `config.json`; `model.onnx` (pixel normalisation inside, batch dynamic; differs from
  torch by at most {onnx_max_difference:.1e}); `metrics.json`.

## Without FaceVid

numpy and ONNX Runtime are enough, and 68 landmarks of the face in iBUG order; where `config.json` has
`mediapipe_face_mesh_points`, these are their numbers in MediaPipe's face mesh. Only the {registered} inner ones
register the face. Of a photo `facevid predict` gives the same but for rounding; it finds the landmarks, and tells the
head's pose and ARKit weights.

```python
{example}```

## Measured

| split | crops | videos | vertex error, mm | mean expression, mm | e = 0, mm | correlation |
|---|---|---|---|---|---|---|
{rows}

Vertex error: mean distance over all vertices between the predicted and the fitted expression. "Mean expression" always
predicts the training set's mean. The labels are fits to detected landmarks, not scans: agreement with them is not
accuracy on real faces.

{weights}
{remark}

## Meant for, and not

For research on facial movement: tracking, retargeting, animation, description of the expression a face shows.

Not for telling what a person feels, thinks, intends or is, nor for identifying people. A facial expression is not
evidence of an emotion. Inferring emotions of people at work or in education is prohibited in the European Union
(Regulation 2024/1689, Article 5(1)(f)). Not evaluated per age, sex or skin tone: do not assume that it works equally
for all.

## Data and licence

Trained on {datasets}
{licences}{init}
Where each video came from, and whom to credit, stands in the tracks table of its dataset; whether its licence allows
sharing this model is for whoever trained it to decide. The face model's licence: {face_model_licence}.
"""

_EXAMPLE = '''\
import json
from pathlib import Path

import numpy as np
import onnxruntime

folder = Path(".")  # where this card lies
wanted = json.loads((folder / "config.json").read_text())["input"]
network = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
inner = slice(*wanted["registration"]["registered_points"])
template = np.array(wanted["registration"]["template_px"])[inner] @ [1, 1j]  # x + iy: a similarity is one product


def crop(rgb, points_px):
    face = points_px[inner] @ [1, 1j]
    a, b = face - face.mean(), template - template.mean()
    turn = np.vdot(a, b) / np.vdot(a, a).real  # rotation and scale, least squares
    fine = int(np.ceil(1 / abs(turn)))  # samples across a pixel of the crop, where the picture shrinks
    grid = (np.arange(wanted["side_px"] * fine) + 0.5) / fine - 0.5
    place = (grid + 1j * grid[:, None] - template.mean()) / turn + face.mean()
    height, width = rgb.shape[:2]
    black_around = np.pad(rgb.astype(np.float32), ((1, 2), (1, 2), (0, 0)))
    x, y = np.clip(place.real, -1, width) + 1, np.clip(place.imag, -1, height) + 1
    column, row = x.astype(int), y.astype(int)
    right, down = (x - column)[..., None], (y - row)[..., None]
    above, below = (
        (1 - right) * black_around[line, column] + right * black_around[line, column + 1] for line in (row, row + 1)
    )
    samples = ((1 - down) * above + down * below).reshape(wanted["side_px"], fine, wanted["side_px"], fine, 3)
    return np.rint(samples.mean(axis=(1, 3))).astype(np.uint8)


def expression(rgb, points_px):
    """Coefficients of the face in a picture (height x width x 3, uint8) with these 68 landmarks (68 x 2, pixels)."""
    return network.run(None, {wanted["name"]: crop(rgb, points_px)[None]})[0][0]
'''


def model_card(config: dict[str, Any], metrics: dict[str, Any]) -> str:
    """The card's text.

    Args:
        config: The content of config.json.
        metrics: The content of metrics.json, with a `final` entry of metrics per split, and `sources`.
    """
    final, sources = metrics["final"], metrics["sources"]
    rows = "\n".join(_row(split) for split in final.values() if split)
    held_out = [split for split in (final.get("val"), final.get("test")) if split]
    weights = f"The weights are those after step {metrics['shipped_steps']} of {metrics['steps']}"
    if not metrics["shipped_steps"]:
        weights = f"The weights are those that the training began with: its {metrics['steps']} steps made none better"
    if final.get("val"):
        weights += ", chosen by the error on val,\nwhich is therefore a little too small; test had no say in it."
    else:
        weights += ": nothing was held out to choose them by."
    remark = "".join(f"\n- {split['split']}: {split['remark']}." for split in held_out if split["remark"])
    if not held_out:
        remark = "\nThere was no held-out video: these numbers say that training ran, and nothing else."
    registered = config["input"]["registration"]["registered_points"]
    return _CARD.format(
        preset=config["preset"],
        n_expression=config["n_expression"],
        side_px=config["input"]["side_px"],
        landmark_scheme=config["landmark_scheme"],
        registered=registered[1] - registered[0],
        example=_EXAMPLE,
        face_model=config["face_model"],
        face_model_sha256=config["face_model_sha256"],
        face_model_licence=config["face_model_licence"],
        datasets=_datasets(config["datasets"]),
        licences=licences_in_words(sources["videos"], sources["licences"]),
        init=_ancestors(metrics.get("init")),
        onnx_max_difference=metrics["onnx_max_difference"],
        rows=rows,
        weights=weights,
        remark=remark,
    )


def _ancestors(init: dict[str, Any] | None) -> str:
    """Of each model that this one's training went on from a sentence, which is Markdown; the last one first."""
    lines = ""
    for number in range(_MOST_ANCESTORS + 1):
        if not isinstance(init, dict):
            return lines
        if number == _MOST_ANCESTORS:
            break
        earlier = "this training" if not number else "that one's"
        lines += (
            f"\n\nThe weights that {earlier} began with have the sha256\n`{_plain(init.get('weights_sha256'))}`\n"
            f"and were trained on {_datasets(init.get('datasets', [{'config_hash': init.get('dataset_config_hash')}]))}"
        )
        match init.get("sources"):
            case {"videos": int(videos), "licences": dict(licences)} if _counts(licences):
                lines += f"\n{licences_in_words(videos, licences)}"
            case _:
                lines += "\nUnder which licences its videos stood is not known."
        init = init.get("init")
    return f"{lines}\n\nModels before that are not listed."


def _datasets(listed: object) -> str:
    """Which datasets, in Markdown, to end a sentence with."""
    known = [one for one in listed if isinstance(one, dict)] if isinstance(listed, (list, tuple)) else []
    if not known:
        return "datasets that are not known."
    if len(known) == 1:
        return f"a FaceVid dataset with {_hashes(known[0])}."
    lines = "".join(f"\n- {_hashes(one)}" for one in known)
    return f"{len(known)} FaceVid datasets; a video that was in several was used once:\n{lines}\n"


def _hashes(dataset: dict[str, Any]) -> str:
    config, content = (_plain(dataset.get(name) or "") for name in ("config_hash", "content_sha256"))
    found = f"configuration hash\n  `{config}`"
    return f"{found}\n  and content (sha256 over those of its shards)\n  `{content}`" if content else found


def _counts(licences: dict[Any, Any]) -> bool:
    return all(isinstance(name, str) and isinstance(count, int) for name, count in licences.items())


def _plain(text: object) -> str:
    """What an earlier model's files say, shown as nothing but text."""
    return re.sub(r"[^0-9A-Za-z_.-]", "", str(text))[:80]


def _row(split: dict[str, Any]) -> str:
    correlation = "-" if split["mean_pearson"] is None else f"{split['mean_pearson']:.2f}"
    return (
        f"| {split['split']} | {split['crops']} | {split['videos']} | {split['vertex_error_mm']:.3f} "
        f"| {split['vertex_error_mean_expression_mm']:.3f} | {split['vertex_error_zero_mm']:.3f} | {correlation} |"
    )
