"""Do fitted faces do what the landmarks do? Lids, mouth and brows of real videos, 68 points beside the dense scheme.

    python -m benchmarks.expressions --videos FOLDER --out strips     (or FACEVID_VIDEOS=FOLDER)
    python -m benchmarks.expressions --videos FOLDER --model calibrated.npz --against old.npz

Per video and method: the gain of what the fit shows over what the landmarks show (slope over time; 1 follows them,
less is milder) for the opening of the lids, the opening and the width of the mouth and the raise of the brows, all
at the same 68 points; RMS distances per part of the face, percent of the outer-eye distance; the same at points that
the fit did not see; jitter; CPU time. A second model (`--against`) or the model without its detector calibration
stands beside it. Strips show the frames with the widest and the narrowest lids and mouth, observed landmarks in green,
fitted in red. They show persons: keep them to yourself.
"""

import argparse
import json
import os
import sys
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch

from facevid import assets
from fitting.face_model import DEFAULT_MODEL_PATH, INNER_POINTS, FaceModel, load_face_model
from fitting.metrics import expression_jitter_mm
from fitting.options import FitOptions
from fitting.reprojection import HELD_OUT
from fitting.solver import fit_tracks
from fitting.tracks import FittedTrack, LandmarkSequence
from pipeline.faces.errors import VideoError
from pipeline.faces.landmarks import open_detector
from pipeline.faces.options import FacesOptions, Scheme
from pipeline.faces.tracks import track_faces
from pipeline.faces.video import open_video

SUFFIXES = {".mp4", ".mov", ".webm", ".mkv"}
SCHEMES: tuple[Scheme, ...] = ("mediapipe68", "mediapipe_dense")
GOALS = {"lids": 0.9, "width": 0.85, "brows": 0.85}
PARTS = {"lids": slice(36, 48), "lips": slice(48, 68), "brows": slice(17, 27)}
LIDS = ((37, 41), (38, 40), (43, 47), (44, 46))
LIPS = ((61, 67), (62, 66), (63, 65))
STILL = 0.5
"""Percent of the outer-eye distance: where a signal varies by less, a gain says nothing."""
TILE_PX = 320


def signals(points: np.ndarray) -> dict[str, np.ndarray]:
    """What a face does, in pixels, from its first 68 landmarks (frames x points x 2)."""
    points = points[:, :68].astype(np.float64)

    def apart(pairs: tuple[tuple[int, int], ...]) -> np.ndarray:
        return np.mean([np.linalg.norm(points[:, a] - points[:, b], axis=-1) for a, b in pairs], axis=0)

    eyes = points[:, [36, 39, 42, 45]].mean(axis=1)
    up = eyes - points[:, 33]
    up /= np.linalg.norm(up, axis=-1, keepdims=True)
    return {
        "lids": apart(LIDS),
        "mouth": apart(LIPS),
        "width": apart(((48, 54),)),
        "brows": ((points[:, 17:27].mean(axis=1) - eyes) * up).sum(axis=-1),
    }


def row(model: FaceModel, seen: LandmarkSequence, fit: FittedTrack, half: FittedTrack, unit: np.ndarray) -> dict:
    """All numbers of one track; `half` did not see the points in HELD_OUT, `unit` is the outer-eye distance in px."""
    used = seen.weight[:, 0] > 0
    result = {}
    shown, fitted = signals(seen.smoothed_px), signals(fit.fitted_px)
    for name in shown:
        x, y = (100 * one[name][used] / unit[used] for one in (shown, fitted))
        result[name] = float(np.polyfit(x, y, 1)[0]) if x.std() > STILL else float("nan")
    for prefix, one, chosen in (("e_", fit, range(68)), ("h_", half, range(HELD_OUT.start, HELD_OUT.stop, 2))):
        error = np.linalg.norm(one.fitted_px[:, :68] - seen.observed_px[:, :68], axis=-1)[used] / unit[used, None]
        for part, points in PARTS.items():
            inside = [p for p in chosen if points.start <= p < points.stop]
            result[prefix + part] = float(100 * np.sqrt((error[:, inside] ** 2).mean()))
    result["hold-out"] = 100 * fit.holdout_error
    result["jitter"] = expression_jitter_mm(model, fit.expression)
    return result


def halved(sequence: LandmarkSequence) -> LandmarkSequence:
    """Without the held-out points of the 68."""
    weight = sequence.weight.copy()
    weight[:, HELD_OUT] = 0
    return replace(sequence, weight=weight)


def measure(models: dict[str, FaceModel], sequences: dict[str, dict[str, LandmarkSequence]]) -> dict[str, dict]:
    """Numbers by method and video, and the fits."""
    plain = fit_tracks(list(sequences[SCHEMES[0]].values()), next(iter(models.values())), FitOptions())
    unit = {
        video: fit.scale_px_per_mm.astype(np.float64) * 89.0
        for video, fit in zip(sequences[SCHEMES[0]], plain, strict=True)
    }
    found: dict[str, dict] = {}
    for scheme in SCHEMES:
        seen = sequences[scheme]
        frames = sum(len(one.pts_s) for one in seen.values())
        for name, model in models.items():
            began_s = time.process_time()
            fits = fit_tracks(list(seen.values()), model, FitOptions())
            spent_ms = 1000 * (time.process_time() - began_s) / frames
            halves = fit_tracks([halved(one) for one in seen.values()], model, FitOptions())
            found[f"{scheme} {name}"] = {
                "rows": {
                    video: row(model, seen[video], fit, half, unit[video])
                    for video, fit, half in zip(seen, fits, halves, strict=True)
                },
                "fits": dict(zip(seen, fits, strict=True)),
                "ms_per_frame": spent_ms,
            }
    return found


def landmark_tracks(folder: Path) -> tuple[dict[str, dict[str, LandmarkSequence]], dict[str, np.ndarray]]:
    """The longest face track of each video, by scheme and video, and the numbers of its frames."""
    networks = assets.fetch_landmark_networks()
    sequences: dict[str, dict[str, LandmarkSequence]] = {scheme: {} for scheme in SCHEMES}
    frames = {}
    paths = sorted(p for p in folder.iterdir() if p.suffix in SUFFIXES)
    for number, path in enumerate(paths, 1):
        print(f"{number} of {len(paths)}: {path.name}", file=sys.stderr, flush=True)
        for scheme in SCHEMES:
            options = FacesOptions(scheme=scheme, crops=False)
            try:
                tracks = track_faces(path, open_detector(options, networks), options).tracks
            except VideoError as error:
                print(error, file=sys.stderr)
                break
            track = max(tracks, key=lambda one: len(one.frame))
            points = track.observed_px.shape[1]
            sequences[scheme][path.name] = LandmarkSequence(
                scheme=scheme, observed_px=track.observed_px, smoothed_px=track.smoothed_px, pts_s=track.pts_s,
                weight=np.repeat(track.confidence[:, None], points, axis=1),
            )  # fmt: skip
            frames[path.name] = track.frame
    return sequences, frames


def draw(path: Path, out: Path, frames: np.ndarray, seen: LandmarkSequence, methods: dict[str, FittedTrack]) -> None:
    """A row per method; columns: the frames with the narrowest and the widest lids and mouth."""
    shown = signals(seen.smoothed_px)
    chosen = [int(i) for name in ("lids", "mouth", "width") for i in (shown[name].argmin(), shown[name].argmax())]
    wanted = {int(frames[i]): i for i in chosen}
    pictures = {}
    with open_video(path) as video:
        for frame in video:
            if frame.index in wanted:
                shape = (video.info.width_px, video.info.height_px)
                pictures[wanted[frame.index]] = cv2.resize(np.ascontiguousarray(frame.rgb[..., ::-1]), shape)
    strips = []
    for name, fit in methods.items():
        tiles = []
        for i in chosen:
            tile, to_tile = _cut(pictures[i], seen.observed_px[i, :68])
            observed, fitted = seen.smoothed_px[i, INNER_POINTS], fit.fitted_px[i, :68]
            for points, colour in ((observed, (0, 220, 0)), (fitted, (0, 0, 255))):
                for x, y in points @ to_tile[:, :2].T + to_tile[:, 2]:
                    cv2.circle(tile, (round(float(x)), round(float(y))), 2, colour, -1)
            tiles.append(tile)
        strip = np.hstack(tiles)
        cv2.putText(strip, name, (5, 15), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1)
        strips.append(strip)
    cv2.imwrite(str(out / f"{path.stem}.png"), np.vstack(strips))


def _cut(picture: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    low, high = points.min(axis=0), points.max(axis=0)
    scale = TILE_PX / (1.2 * float((high - low).max()))
    middle = (low + high) / 2
    to_tile = np.array([[scale, 0, TILE_PX / 2 - scale * middle[0]], [0, scale, TILE_PX / 2 - scale * middle[1]]])
    return cv2.warpAffine(picture, to_tile, (TILE_PX, TILE_PX)), to_tile


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.expressions",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--videos", type=Path, default=os.environ.get("FACEVID_VIDEOS") or None, help="their folder")
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL_PATH, help="face model; without it FaceVid-CC0")
    parser.add_argument("--against", type=Path, help="another model; without it, the same one without calibrations")
    parser.add_argument("--out", type=Path, help="folder for strips")
    arguments = parser.parse_args()
    if arguments.videos is None:
        print("nothing was measured: name a folder of videos with --videos or FACEVID_VIDEOS", file=sys.stderr)
        return 0
    torch.set_num_threads(1)
    model = load_face_model(arguments.model)
    against = load_face_model(arguments.against) if arguments.against else replace(model, calibrations={})
    sequences, frames = landmark_tracks(arguments.videos)
    found = measure({"before": against, "after": model}, sequences)
    for name, result in found.items():
        rows = result["rows"]
        names = list(next(iter(rows.values())))
        print(f"\n{name}: {result['ms_per_frame']:.2f} ms of CPU time per frame, hold-out fit included")
        print(f"{'':26}" + " ".join(f"{n:>8}" for n in names))
        for video, values in rows.items():
            print(f"{video[:25]:26}" + " ".join(f"{values[n]:8.2f}" for n in names))
        result["mean"] = {n: float(np.nanmean([values[n] for values in rows.values()])) for n in names}
        print(f"{'mean':26}" + " ".join(f"{result['mean'][n]:8.2f}" for n in names))
    if arguments.out:
        arguments.out.mkdir(parents=True, exist_ok=True)
        for video, seen in sequences[SCHEMES[0]].items():
            methods = {name: result["fits"][video] for name, result in found.items()}
            draw(arguments.videos / video, arguments.out, frames[video], seen, methods)
        print(f"\nstrips: {arguments.out}")
    dense = found[f"{SCHEMES[1]} after"]["mean"]
    reached = all(dense[name] >= goal for name, goal in GOALS.items())
    print(f"\ngoals of the dense scheme's gains: {GOALS}")
    print(json.dumps({
        "goals_reached": reached,
        **{
            name.replace(" ", "_"): {key: round(value, 3) for key, value in result["mean"].items()}
            | {"ms_per_frame": round(result["ms_per_frame"], 3)}
            for name, result in found.items()
        },
    }))
    return 0 if reached else 1


if __name__ == "__main__":
    sys.exit(main())
