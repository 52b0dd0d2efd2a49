"""Who is asked for the properties of an instance's image, where its domain does not say them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from attrs import field, frozen
from twisted.internet.defer import Deferred

from consoled.openstack.values import UserToken


@frozen
class Said:
    """What is known of an image.

    :ivar properties: the image's, by name.
    :ivar warning: what whoever asked should know: why there are none. Else None.
    """

    properties: Mapping[str, str] = field(factory=dict)
    warning: str | None = None


ImageQuestion = Callable[[str, str | None], Deferred[Said]]
"""Asks, given the instance's uuid and its image's id as far as nova's metadata names one.

:raises consoled.errors.Unavailable: who knows does not answer.
:raises consoled.errors.TokenRefused: who knows does not take the user's token.
"""

Questions = Callable[[UserToken | None], ImageQuestion | None]
"""What asks on behalf of a user; None for nobody, who has no rights there."""
