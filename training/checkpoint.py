"""A training that was stopped goes on: what it has come to lies beside the model to be, in `OUT.training`.

One file of safetensors, `checkpoint.safetensors`, holds all that decides how the training goes on. It is replaced as a
whole, between two steps. Its tensors are

- `network.*`: weights and statistics of normalisation, by the names of the network's `state_dict`;
- `optimiser.<parameter>.<moment>`: AdamW's step count and moments, parameters counted in its own order;
- `best.*`: the weights that were best on the val split so far, where there is one (`training.best`);

and its metadata two JSON objects: `about`, the options, the software and the dataset (sha256 over those of its shards),
which must be the same for the training to go on, and `progress`, where it stands. A lock, which the kernel releases
when its holder ends, keeps a second training away.
"""

import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from facevid import storage
from training.config import training_folder
from training.model_folder import refuse_existing

FIRST_SAVE_S, SAVE_EVERY_S = 10.0, 300.0
"""A state is saved when a training is so old, and from then on so often, or as seldom as every fifty times what saving
takes."""
_LOST = 0.1
"""Share of a young training that a kill may cost."""
_SAVING = 0.02
"""Share of the time that may go into saving: a slow disk is written to less often."""
_FILE = "checkpoint.safetensors"


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What a training has come to.

    Attributes:
        tensors: Weights, statistics and the optimiser's moments, by name, on the CPU.
        progress: Everything else, plain values.
    """

    tensors: Mapping[str, torch.Tensor]
    progress: Mapping[str, Any]


class Checkpoints:
    """Saves the state of one training, and finds that of an earlier one.

    Args:
        folder: The training's own folder.
        about: What is trained, on what and how, plain values: only the same training goes on.
        clock: Monotonic seconds; tests replace it.
    """

    def __init__(
        self, folder: Path, about: Mapping[str, Any], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._folder, self._about, self._clock = folder, json.loads(json.dumps(about)), clock
        self._began_s = self._saved_s = clock()
        self._cost_s = 0.0

    @property
    def file(self) -> Path:
        """Where the state is saved."""
        return self._folder / _FILE

    @property
    def _remedy(self) -> str:
        return f"remove {self._folder} to begin anew"

    def due(self) -> bool:
        """Whether the last save was long enough ago.

        A kill then costs ten seconds, a tenth of the training or five minutes, whichever is in the middle, or fifty
        times what saving takes where that is longer: these saves cost no more than a fiftieth of the time.
        """
        now_s = self._clock()
        wait_s = min(max(FIRST_SAVE_S, _LOST * (now_s - self._began_s)), SAVE_EVERY_S)
        return now_s - self._saved_s >= max(wait_s, self._cost_s / _SAVING)

    def save(self, state: State) -> None:
        """Replace the saved state.

        Raises:
            OSError: It cannot be written; the message says what to do.
        """
        began_s = self._clock()
        about = {"about": json.dumps(self._about), "progress": json.dumps(state.progress)}
        try:
            storage.write_bytes(self.file, save(dict(state.tensors), metadata=about))
        except OSError as error:
            raise OSError(
                f"{self.file} cannot be written ({error}); mend that and run the same command again: it goes on from "
                "what was saved last"
            ) from error
        self._saved_s = self._clock()
        self._cost_s = self._saved_s - began_s

    def load(self) -> State | None:
        """The saved state; None where nothing was saved.

        Raises:
            ValueError: It is that of another training, or damaged.
        """
        if not self.file.exists():
            return None
        try:
            with safe_open(self.file, framework="pt") as file:
                found = file.metadata()
                about, progress = _fields(found["about"]), _fields(found["progress"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise self.damaged(error) from error
        for name, value in self._about.items():
            if about.get(name) != value:
                raise ValueError(
                    f"{self._folder} holds a training that was stopped, begun with {name}={about.get(name)!r}; this "
                    f"one has {name}={value!r}. Give it what it was begun with, choose another --out, or {self._remedy}"
                )
        return State(tensors=tensors, progress=progress)

    def damaged(self, error: Exception) -> ValueError:
        """What to raise where a saved state cannot be gone on from."""
        said = f"{type(error).__name__}: {error}"
        return ValueError(f"{self.file} is damaged ({said}); {self._remedy}")


def _fields(text: str) -> dict[str, Any]:
    plain = json.loads(text)
    if not isinstance(plain, dict):
        raise ValueError(f"{text[:40]!r} is no JSON object")  # noqa: TRY004  # content, not a caller's type
    return plain


@contextmanager
def checkpoints(out: Path, about: Mapping[str, Any]) -> Iterator[Checkpoints]:
    """The checkpoints of the training of one model; they are removed when the block ends well, which leaves the model.

    They are removed too where nothing was saved, and where the training diverged: going on would diverge again.

    Args:
        out: The model's folder, which must not exist yet.
        about: See `Checkpoints`.

    Raises:
        ValueError: `out` exists, or another training of it is running.
        OSError: The folder cannot be written.
    """
    refuse_existing(out)
    folder = training_folder(out)
    descriptor = _locked(out, folder)
    found, over = Checkpoints(folder, about), False
    try:
        refuse_existing(out)  # another process may have made it until the lock was ours
        yield found
        over = True
    except FloatingPointError:
        over = True
        raise
    finally:
        if over or not found.file.exists():
            found.file.unlink(missing_ok=True)  # before the lock's name goes: whoever has the next must not find it
            shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def _locked(out: Path, folder: Path) -> int:
    """Descriptor of the lock of a training's folder, which is made, once the lock is ours.

    Another process may remove its folder between our opening and our locking of the file: what is locked then has no
    name any more and keeps nobody away, so a new one is opened.
    """
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), (folder / "lock").stat()):
                return descriptor
        except FileNotFoundError:
            pass
        except BlockingIOError as error:
            os.close(descriptor)
            raise ValueError(f"out={str(out)!r} is being trained by another process; choose another folder") from error
        os.close(descriptor)
