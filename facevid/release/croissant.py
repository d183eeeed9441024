"""`croissant.json`: what a dataset is for programs that search and load datasets, as MLCommons Croissant 1.1.

Every shard is a FileObject with its size and sha256; the shards of a table are a FileSet, from which the fields of its
RecordSet are read. Nothing of it depends on the clock: what the specification requires and only the publisher knows
(url, creator, licence, day of publication) is there where it was given.

Reference: https://docs.mlcommons.org/croissant/docs/croissant-spec-1.1.html
"""

import json
from typing import Any

import pyarrow as pa

from facevid.dataset import Dataset
from facevid.description import FACE_MODEL_FILE
from facevid.release import card_texts
from facevid.release.publication import Publication
from facevid.schema import TABLES

CROISSANT_FILE = "croissant.json"
_PARQUET = "application/x-parquet"
_PREFIXES = {
    "cr": "http://mlcommons.org/croissant/", "dct": "http://purl.org/dc/terms/",
    "rai": "http://mlcommons.org/croissant/RAI/", "sc": "https://schema.org/",
}  # fmt: skip
_OWN_TERMS = (
    "arrayShape", "citeAs", "column", "containedIn", "equivalentProperty", "extract", "field", "fileObject",
    "fileProperty", "fileSet", "format", "includes", "isArray", "isLiveDataset", "jsonPath", "key", "md5",
    "parentField", "path", "recordSet", "references", "regex", "repeated", "replace", "samplingRate", "separator",
    "source", "subField", "transform",
)  # fmt: skip
_CONTEXT: dict[str, Any] = {
    "@language": "en", "@vocab": "https://schema.org/", **_PREFIXES, **{name: f"cr:{name}" for name in _OWN_TERMS},
    "conformsTo": "dct:conformsTo", "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"}, "description": {"@container": "@language"},
    "examples": {"@id": "cr:examples", "@type": "@json"}, "name": {"@container": "@language"},
}  # fmt: skip
"""The context that the specification recommends; with another, readers do not know its terms."""
_TYPES = {
    "string": "sc:Text", "int32": "cr:Int32", "float": "cr:Float32", "double": "cr:Float64", "bool": "sc:Boolean",
    "binary": "sc:ImageObject",
}  # fmt: skip
_FRAME_KEY = ("video_id", "track", "frame")
_KEYS = {"frames": _FRAME_KEY, "tracks": _FRAME_KEY[:2], "crops": _FRAME_KEY}
_ADDRESSES = {
    "cc0-1.0": "https://creativecommons.org/publicdomain/zero/1.0/",
    **{f"cc-{kind}-4.0": f"https://creativecommons.org/licenses/{kind}/4.0/"
       for kind in ("by", "by-sa", "by-nc", "by-nc-sa", "by-nd", "by-nc-nd")},
}  # fmt: skip


def croissant_text(dataset: Dataset) -> str:
    """The text of `croissant.json`; the same dataset gives the same text.

    Args:
        dataset: The dataset; its description must list the shards.
    """
    publication = Publication.from_plain(dataset.description.publication)
    there = [name for name in TABLES if dataset.shards(name)]
    plain = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": "http://mlcommons.org/croissant/1.1",
        "name": publication.name or "FaceVid dataset",
        "description": " ".join(card_texts.WHAT.split()),
        **_published(publication),
        "citeAs": card_texts.PAPER,
        "keywords": ["3DMM", "faces", "facial expression", "landmarks", "video"],
        "isLiveDataset": False,
        "distribution": [*_files(dataset), *(_file_set(name) for name in there)],
        "recordSet": [_record_set(name, dataset.schema(name)) for name in there],
    }
    return json.dumps(plain, indent=1, ensure_ascii=False) + "\n"


def _published(publication: Publication) -> dict[str, Any]:
    said: dict[str, Any] = {}
    if publication.url:
        said["url"] = publication.url
    if publication.version:
        said["version"] = publication.version
    if publication.terms:
        said["license"] = _ADDRESSES.get(publication.terms.lower(), publication.terms)
    if publication.creator:
        # What kind of creator it is nobody said; the specification knows these two, and one may be both.
        said["creator"] = {"@type": "sc:Organization", "name": publication.creator}
    if publication.published:
        said["datePublished"] = publication.published
    return said


def _files(dataset: Dataset) -> list[dict[str, Any]]:
    files = [(shard.path, shard.bytes, shard.sha256, _PARQUET) for shard in dataset.description.shards]
    described = [
        _file(path, sha256, kind) | {"contentSize": f"{size} B"} for path, size, sha256, kind in files
    ]
    if not dataset.description.with_face_model:
        return described
    model = _file(FACE_MODEL_FILE, dataset.description.face_model_sha256, "application/zip")
    return [*described, model | {"description": "The face model that the coefficients refer to: a NumPy .npz file."}]


def _file(path: str, sha256: str, kind: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject", "@id": path, "name": path, "contentUrl": path, "encodingFormat": kind,
        "sha256": sha256,
    }  # fmt: skip


def _file_set(table: str) -> dict[str, Any]:
    return {
        "@type": "cr:FileSet", "@id": f"{table}-shards", "name": f"{table}-shards",
        "description": f"All shards of the table {table}.", "encodingFormat": _PARQUET,
        "includes": f"{table}/*.parquet",
    }  # fmt: skip


def _record_set(table: str, schema: pa.Schema) -> dict[str, Any]:
    described: dict[str, Any] = {
        "@type": "cr:RecordSet", "@id": table, "name": table,
        "description": f"The table {table}; columns and units as in README.md.",
    }  # fmt: skip
    if keys := _KEYS.get(table):
        described["key"] = [{"@id": f"{table}/{name}"} for name in keys]
    return described | {"field": [_field(table, field) for field in schema]}


def _field(table: str, field: pa.Field) -> dict[str, Any]:
    kind, width = field.type, None
    if pa.types.is_fixed_size_list(kind):
        kind, width = kind.value_type, kind.list_size
    described: dict[str, Any] = {
        "@type": "cr:Field", "@id": f"{table}/{field.name}", "name": field.name,
        "description": field.metadata[b"description"].decode(), "dataType": _TYPES[str(kind)],
    }  # fmt: skip
    if width is not None:
        described |= {"isArray": True, "arrayShape": str(width)}
    return described | {"source": {"fileSet": {"@id": f"{table}-shards"}, "extract": {"column": field.name}}}
