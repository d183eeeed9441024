"""The two files with which a dataset explains itself, written beside it: the card and the Croissant metadata."""

from facevid import storage
from facevid.dataset import Dataset
from facevid.release.card import CARD_FILE, card_text, is_unedited
from facevid.release.contents import read_contents
from facevid.release.croissant import CROISSANT_FILE, croissant_text


def write_documents(dataset: Dataset) -> None:
    """Write the card and the metadata of a dataset whose tables are all there.

    A card that somebody edited, and a README.md that was there before, stay as they are.

    Raises:
        DatasetError: A shard is missing or damaged, or an earlier version wrote it without some of the columns.
    """
    storage.write_bytes(storage.join(dataset.root, CROISSANT_FILE), croissant_text(dataset).encode())
    if is_own_card(dataset.root):
        card = card_text(dataset, read_contents(dataset))
        storage.write_bytes(storage.join(dataset.root, CARD_FILE), card.encode())


def is_own_card(root: str) -> bool:
    """Whether a card may be written there: there is none, or one that nobody has edited."""
    card = storage.join(root, CARD_FILE)
    return not storage.exists(card) or is_unedited(storage.read_bytes(card))


def has_documents(root: str) -> bool:
    """Whether both are there."""
    return all(storage.exists(storage.join(root, name)) for name in (CARD_FILE, CROISSANT_FILE))
