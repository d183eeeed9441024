"""From landmarks to a face: a fit, ARKit weights, an animated mesh. No video needed."""

import numpy as np

from fitting.face_model import load_face_model
from fitting.fit_file import fit_file
from fitting.gltf import write_gltf
from fitting.mesh_export import write_arkit_csv
from fitting.synthetic import SyntheticOptions, synthetic_track

model = load_face_model()
made_up = synthetic_track(model, "ibug68", SyntheticOptions(frames=90), seed=1)  # your landmarks: frames x 68 x 2, px
np.savez("landmarks.npz", landmarks=made_up.sequence.observed_px, fps=30.0, scheme="ibug68")
fit = fit_file("landmarks.npz", "fit.npz", report=print)
write_arkit_csv("arkit.csv", fit, model)
write_gltf("face.glb", fit, model, targets="arkit")
print("identity", fit.track.identity.shape, "expression", fit.track.expression.shape)
