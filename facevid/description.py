"""`facevid.json`: what a dataset is, in one frozen type that builder, reader and trainer share."""

import json
import re
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any, TypeVar, get_args, get_origin

from facevid.schema import SCHEMA_VERSION, TABLES
from facevid.shards import ShardInfo

DESCRIPTION_FILE = "facevid.json"
FACE_MODEL_FILE = "face_model.npz"
"""The face model that the dataset was fitted with, beside the description."""
RELEASE_STEP = "release"
"""The funnel's last step where somebody made a release: what of the kept frames went out."""
RECEIVED = "or, if somebody gave it to you, get the file again"
"""What those can do about a damaged dataset who did not build it."""
REMOVE = f"remove it and run the build again, {RECEIVED}"
"""What mends an altered file: a build takes tables for up to date whose files are there and of the right size."""
_SHARD_FILE = r"part-\d{5,}-of-\d{5,}\.parquet"
_LARGEST_WIDTH = 1_000_000


class DatasetError(Exception):
    """A folder is no dataset, of a newer schema, incomplete, or damaged. The message says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FunnelStep:
    """What happened to the items that entered one step.

    Attributes:
        step: Name, see `facevid.schema.FUNNEL_UNITS`.
        unit: What is counted: rows, videos, tracks or frames.
        entered: Items that came in.
        ok: Items that went on.
        failed: Items with a row in the failures table.
        filtered: Items left out by a rule.
        reasons: How many of them by which rule, where that was counted: single frames only in finished tables.
        events: How often something else happened that took no item away.

    Raises:
        ValueError: The counts do not add up.
    """

    step: str
    unit: str
    entered: int
    ok: int
    failed: int
    filtered: int
    reasons: Mapping[str, int] = field(default_factory=dict)
    events: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.entered != self.ok + self.failed + self.filtered:
            raise ValueError(
                f"step={self.step!r}: entered={self.entered} is not ok={self.ok} + failed={self.failed} "
                f"+ filtered={self.filtered}"
            )
        if self.reasons and sum(self.reasons.values()) != self.filtered:
            raise ValueError(f"step={self.step!r}: reasons={dict(self.reasons)} do not add up to {self.filtered}")


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetDescription:
    """The content of `facevid.json`. It holds nothing that differs between two runs over the same input.

    Attributes:
        schema_version: Version of the tables, see `facevid.schema`.
        program_version: Version of the program that wrote it.
        config: The build's options that went into the result, as plain values.
        config_hash: Hash of these.
        face_model: Name of the face model.
        face_model_sha256: sha256 of its file.
        face_model_licence: Its licence.
        with_face_model: Whether its file is part of the dataset; false in a release that may not hand it on.
        n_identity: Identity components.
        n_expression: Expression components.
        detector: Name of the landmark detector.
        detector_sha256: sha256 over its weight files.
        landmark_scheme: Name of the landmark scheme.
        points: Landmarks of the scheme.
        funnel: The steps in order.
        shards: All shards of all tables.
        failures: In a release, which has no failures table: how many rows it had of each "stage/code".
        publication: In a release: what whoever made it says of it, see `facevid.release.publication`.
    """

    schema_version: int = SCHEMA_VERSION
    program_version: str
    config: Mapping[str, Any]
    config_hash: str
    face_model: str
    face_model_sha256: str
    face_model_licence: str
    with_face_model: bool = True
    n_identity: int
    n_expression: int
    detector: str
    detector_sha256: str
    landmark_scheme: str
    points: int
    funnel: tuple[FunnelStep, ...]
    shards: tuple[ShardInfo, ...]
    failures: Mapping[str, int] = field(default_factory=dict)
    publication: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_release(self) -> bool:
        """Whether it is a release, which has kept rows only and nothing that a build could go on with."""
        return any(step.step == RELEASE_STEP for step in self.funnel)

    def to_json(self) -> str:
        """The text of `facevid.json`: the same description gives the same text."""
        return json.dumps({"format": "facevid", **asdict(self)}, indent=2, sort_keys=True, ensure_ascii=False) + "\n"

    @classmethod
    def from_json(cls, text: str, *, where: str = DESCRIPTION_FILE) -> "DatasetDescription":
        """Read the text of `facevid.json`.

        Args:
            text: The file's content.
            where: What to call the file in messages.

        Raises:
            DatasetError: It is not what this program writes, or of a newer schema.
        """
        try:
            plain = json.loads(text)
        except (ValueError, RecursionError) as error:  # a whole number may have too many digits
            raise DatasetError(f"{where} is not JSON ({error}); build the dataset again") from error
        if not isinstance(plain, dict) or plain.pop("format", None) != "facevid":
            raise DatasetError(f"{where} does not describe a FaceVid dataset")
        version = plain.get("schema_version")
        if type(version) is not int or not 1 <= version <= SCHEMA_VERSION:
            raise DatasetError(
                f"{where} has schema version {version!r}, this program reads 1 to {SCHEMA_VERSION}; "
                "for a later one install a newer facevid"
            )
        try:
            funnel = tuple(_made(FunnelStep, step) for step in _taken(plain, "funnel"))
            shards = tuple(_made(ShardInfo, shard) for shard in _taken(plain, "shards"))
            # The file may come from a stranger: its paths must not lead out of the folder.
            if strange := [shard.path for shard in shards if not _is_shard_of(shard.table, shard.path)]:
                raise ValueError(f"{strange[0]!r} is no path of a shard")
            if len({shard.path for shard in shards}) < len(shards):
                raise ValueError("a shard is listed twice")
            description = _made(cls, plain | {"funnel": funnel, "shards": shards})
            for name in ("n_identity", "n_expression", "points"):
                if not 1 <= getattr(description, name) <= _LARGEST_WIDTH:
                    raise ValueError(f"{name}={getattr(description, name)} is not between 1 and {_LARGEST_WIDTH}")
        except (TypeError, ValueError) as error:
            raise DatasetError(f"{where} is incomplete or altered: {error}") from error
        return description


def _is_shard_of(table: str, path: str) -> bool:
    return table in TABLES and re.fullmatch(f"{table}/{_SHARD_FILE}", path) is not None


def _taken(plain: dict[str, Any], name: str) -> list[Any]:
    if name not in plain:
        raise TypeError(f"{name} is missing")
    if not isinstance(listed := plain.pop(name), list):
        raise TypeError(f"{name} is {listed!r}")
    return listed


_Made = TypeVar("_Made", DatasetDescription, FunnelStep, ShardInfo)


def _made(kind: type[_Made], plain: Any) -> _Made:
    if not isinstance(plain, dict):
        raise TypeError(f"{plain!r} is no {kind.__name__}")
    for each in fields(kind):
        if each.name not in plain:
            if each.default is MISSING and each.default_factory is MISSING:
                raise TypeError(f"{each.name} is missing")
            continue
        value = plain[each.name]
        if get_origin(each.type) is Mapping:
            _require_mapping(each.name, value, of=get_args(each.type)[1])
        elif each.type in (bool, int, str) and type(value) is not each.type:
            raise TypeError(f"{each.name} is {value!r}")
        elif each.type is int and value < 0:
            raise ValueError(f"{each.name} is {value!r}")
    return kind(**plain)


def _require_mapping(name: str, value: Any, *, of: Any) -> None:
    if not isinstance(value, dict):
        raise TypeError(f"{name} is {value!r}")
    if of is Any:
        return
    wrong = [key for key, each in value.items() if type(each) is not of or (of is int and each < 0)]
    if wrong:
        raise TypeError(f"{name} has {wrong[0]!r}: {value[wrong[0]]!r}")
