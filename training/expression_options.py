"""What a user may choose about the expression classifier. Standard library only: the command line imports it."""

from dataclasses import dataclass

CLASSES = ("neutral", "anger", "disgust", "fear", "happiness", "sadness", "surprise")
"""The seven classes of the paper, in the order of every probability vector."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpressionOptions:
    """Options of `facevid train expression`."""

    per_class: int = 300
    """Synthetic samples of each class (with --prototypes)."""
    folds: int = 10
    """Folds of the cross-validation; the paper has 10."""
    penalty: float = 2.0
    """C of the support vector machines: larger fits the training data more closely."""
    seed: int = 0
    """Seed of the synthetic samples and of the folds."""

    def __post_init__(self) -> None:
        if self.per_class < 1:
            raise ValueError(f"per_class={self.per_class} is below 1")
        if self.folds < 2:
            raise ValueError(f"folds={self.folds} is below 2")
        if not self.penalty > 0.0:
            raise ValueError(f"penalty={self.penalty} is not positive")
