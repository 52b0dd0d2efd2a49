"""Which properties the image of an instance has, by the word of Glance or Cinder.

Asked where the domain itself does not say: of Glance where nova's metadata names an image,
otherwise of Cinder, which keeps the properties of the image that a boot volume was made from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from attrs import frozen
from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as TimedOut
from twisted.internet.interfaces import IReactorTime

from consoled.compute.image_source import ImageQuestion, Said
from consoled.errors import Forbidden, NotFound, ServiceAbsent, ServiceRefused, Unavailable
from consoled.interfaces import Calls
from consoled.openstack.values import UserToken

if TYPE_CHECKING:
    from keystoneauth1.adapter import Adapter

IMAGE = "image"
"""Glance's type in Keystone's catalog."""

VOLUME = "block-storage"
"""Cinder's."""

SOON = 20.0
"""Seconds that whoever waits for the answer to a request waits for a service's."""

_LATER = "Try again later, or ask for a number of ports."


@frozen
class ImageProperties:
    """Asks for the properties of instances' images, with a user's rights."""

    calls: Calls
    clock: IReactorTime

    def asking(self, user: UserToken | None, within: float | None = None) -> ImageQuestion | None:
        """What asks on behalf of that user; None for nobody, who has no rights there.

        :param within: seconds that an answer is waited for; None for as long as services are
            asked again.
        """
        if user is None:
            return None
        return lambda *what: Deferred.fromCoroutine(self._said(user, within, *what))

    def asking_soon(self, user: UserToken | None) -> ImageQuestion | None:
        """As :meth:`asking`, while somebody waits."""
        return self.asking(user, SOON)

    async def _said(
        self, user: UserToken, within: float | None, instance_uuid: str, image_id: str | None
    ) -> Said:
        # What they import takes a while to load, and has been loaded when they are called.
        def of_image(adapter: Adapter) -> Said:
            from consoled.openstack import glance

            return Said({} if image_id is None else glance.image_properties(adapter, image_id))

        def of_volume(adapter: Adapter) -> Said:
            from consoled.openstack import cinder

            volume = cinder.boot_volume(adapter, instance_uuid)
            return Said() if volume is None else Said(volume.image)

        try:
            if image_id is None:
                asked = self.calls.ask(VOLUME, user, of_volume)
            else:
                asked = self.calls.ask(IMAGE, user, of_image)
            if within is not None:
                asked.addTimeout(within, self.clock)
            return await asked
        except ServiceAbsent:
            # Said once in the log; the rest is as it is without these services.
            return Said()
        except (NotFound, Forbidden) as error:
            # Instances outlive their images.
            return Said(
                warning=f"What its image says of serial ports is not known: {error} Ask for a "
                "number of ports if this is not the right one."
            )
        except TimedOut:
            name = "Cinder" if image_id is None else "Glance"
            raise Unavailable(
                f"{name} did not say within {within:.0f} seconds how many serial ports the image "
                f"asks for. {_LATER}"
            ) from None
        except (Unavailable, ServiceRefused) as error:
            raise type(error)(
                f"How many serial ports its image asks for is not known now: {error} {_LATER}"
            ) from error
