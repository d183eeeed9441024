"""Commands on assets: files that are neither code nor in the repository."""

from dataclasses import dataclass

import tyro


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetsList:
    """List every file that is neither code nor in the repository, with licence, purpose and whether it is here.

    Example: facevid assets list
    """

    def run(self) -> int:
        """Print the list."""
        from facevid import assets

        print(f"cache: {assets.cache_folder()} ({assets.CACHE_VARIABLE} moves it)")
        for asset in assets.known_assets().values():
            here = "here" if assets.cached(asset.name) else "not fetched"
            print(f"\n{asset.name}  ({asset.bytes / 1e6:.1f} MB, {here})\n  {asset.purpose}")
            print(f"  from {asset.requirement}: {asset.member or asset.wheel}")
            print(f"  licence: {asset.licence}\n  sha256: {asset.sha256}")
        return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetsFetch:
    """Fetch assets through pip, verify and cache them; without names, all of them.

    Example: facevid assets fetch face_landmark.tflite
    """

    names: tyro.conf.Positional[tuple[str, ...]] = ()
    """Names from `facevid assets list`."""

    def run(self) -> int:
        """Fetch, printing each path."""
        from facevid import assets

        for name in self.names or tuple(assets.known_assets()):
            print(assets.fetch(name))
        return 0


@dataclass(frozen=True, slots=True, kw_only=True)
class AssetsVerify:
    """Check the hash of every cached asset; exit 1 if one is missing or wrong.

    Example: facevid assets verify
    """

    def run(self) -> int:
        """Print one line per asset."""
        from facevid import assets

        good = {name: assets.cached(name) is not None for name in assets.known_assets()}
        for name, ok in good.items():
            print(f"{'ok      ' if ok else 'MISSING '} {name}")
        return 0 if all(good.values()) else 1
