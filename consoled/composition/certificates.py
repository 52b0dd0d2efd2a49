"""The certificates of the daemon's listeners."""

from __future__ import annotations

from attrs import define, field

from consoled.http.tls import SwappableContext, TLSSettings
from consoled.service import Reload


@define(eq=False)
class Certificates:
    """Those that are in use.

    :ivar reloads: what SIGHUP reads again.
    """

    reloads: list[Reload] = field(factory=list, init=False)

    def context(self, what: str, tls: TLSSettings) -> SwappableContext:
        """The certificate for a listener.

        :param what: its name in the log.
        :raises consoled.errors.ConfigError: its files cannot be used.
        """
        context = SwappableContext(tls)
        self.reloads.append(Reload(what, context.reload))
        return context
