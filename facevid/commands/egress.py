"""The command that runs the way out for a build on many machines."""

import os
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from facevid.commands.console import say
from pipeline.config import FetchOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class Egress:
    """Run the proxy through which all downloads go, for a build on many machines; a build on one starts its own.

    It listens until it is interrupted. FACEVID_EGRESS_TOKEN in the environment, at least 16 characters, is asked of
    workers; give every `facevid build --slice I/N` the same token and `--egress HOST:PORT`, and all keep one pause per
    host together. What the proxy permits is said here, not there.

    Example: facevid egress --listen 10.0.0.5:3129 --log egress.jsonl
    """

    listen: str = "127.0.0.1:3129"
    """HOST:PORT to listen on; choose an address that only the workers reach."""
    log: Path | None = None
    """File for one JSON line per connection and per video."""
    fetch: Annotated[FetchOptions, tyro.conf.arg(name="")] = field(default_factory=FetchOptions)

    def run(self) -> int:
        """Serve until interrupted."""
        from pipeline.egress.service import TOKEN_VARIABLE, egress_rules, running_egress
        from pipeline.egress.wire import WireError, split_authority

        try:
            host, port = split_authority(self.listen)
        except WireError as error:
            raise ValueError(f"listen={self.listen!r} must be HOST:PORT") from error
        token = os.environ.get(TOKEN_VARIABLE, "")
        if len(token) < 16:
            raise ValueError(f"{TOKEN_VARIABLE} must hold a token of at least 16 characters")
        with running_egress(egress_rules(self.fetch), log=self.log, host=host, port=port, token=token) as address:
            say(f"listening on {address.host}:{address.port}; interrupt to end")
            try:
                threading.Event().wait()
            except KeyboardInterrupt:
                return 0
        return 0
