"""What commands share: the signals and messages of their process."""

from __future__ import annotations

from dataclasses import dataclass, field

from cipherecho.cli.messages import Messages
from cipherecho.host.signals import Signals

__all__ = ["Program"]


@dataclass(frozen=True)
class Program:
    """The process; Click passes it to commands as the object of their context."""

    signals: Signals = field(default_factory=Signals)
    messages: Messages = field(default_factory=Messages)
