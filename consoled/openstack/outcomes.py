"""What a service's answer means: what went wrong, for whom to read, and whether to ask again."""

from __future__ import annotations

from json import JSONDecodeError

from attrs import frozen
from keystoneauth1.exceptions import (
    ClientException,
    ConnectTimeout,
    DiscoveryFailure,
    Forbidden,
    HttpError,
    NotFound,
    SSLError,
    TooManyRequests,
    Unauthorized,
)
from keystoneauth1.exceptions.connection import ConnectionError as Unreachable

from consoled import errors
from consoled.openstack.service_user import LoginFailed
from consoled.openstack.values import UserToken

_SHOWN = 200
_SERVER_ERROR = 500

NAMES = {"image": "Glance", "block-storage": "Cinder", "network": "Neutron"}


def name_of(service: str) -> str:
    """What people call the service."""
    project = NAMES.get(service)
    return f"the {service} service" if project is None else f"{project} (the {service} service)"


@frozen
class Outcome:
    """A question that failed.

    :ivar error: what to tell.
    :ivar passing: whether the same question may succeed in a while.
    :ivar told: seconds that the service asks us to wait, or 0.
    :ivar token: whether it did not take a token.
    """

    error: errors.ConsoledError
    passing: bool = False
    told: float = 0.0
    token: bool = False


def outcome_of(
    service: str, user: UserToken | None, error: ClientException | JSONDecodeError | LoginFailed
) -> Outcome:
    """What keystoneauth's error means, or that of an answer which is no JSON.

    :param user: on whose behalf the service was asked, or None for consoled itself.
    """
    who = name_of(service)
    if isinstance(error, LoginFailed):
        return _login(who, error)
    if isinstance(error, Unauthorized | Forbidden | NotFound):
        return _refused(who, user, error)
    if _passes(error):
        told = float(getattr(error, "retry_after", 0) or 0)
        text = f"{who} {_trouble(error)}; try again in a while."
        return Outcome(errors.Unavailable(_sentence(text)), passing=True, told=told)
    text = f"{who} {_trouble(error)}"
    if words := _own_words(error, user):
        text += f": {words}"
    return Outcome(errors.ServiceRefused(_sentence(f"{text}.")))


def _refused(
    who: str, user: UserToken | None, error: Unauthorized | Forbidden | NotFound
) -> Outcome:
    if isinstance(error, NotFound):
        return Outcome(errors.NotFound(_sentence(f"{who} does not have what was asked for.")))
    if isinstance(error, Forbidden):
        by = "consoled's own user" if user is None else "the user"
        return Outcome(errors.Forbidden(_sentence(f"{who} does not allow that to {by}.")))
    if user is None:
        text = f"{who} does not take the token of consoled's own user; look at its roles."
        return Outcome(errors.Unavailable(_sentence(text)), token=True)
    text = (
        f"{who} does not take the user's token: it has expired or was taken back, and no service "
        "vouches for it. Ask again with a new token."
    )
    return Outcome(errors.TokenRefused(_sentence(text)), token=True)


def _login(who: str, error: LoginFailed) -> Outcome:
    cause = error.__cause__
    if isinstance(cause, Exception) and _passes(cause):
        text = f"Keystone {_trouble(cause)}, so {who} cannot be asked; try again in a while."
        return Outcome(errors.Unavailable(text), passing=True)
    text = (
        f"Keystone does not let consoled's own user in, so {who} cannot be asked; look at "
        "[service_user], or at [keystone_authtoken] where that names nobody."
    )
    return Outcome(errors.Unavailable(text))


def _passes(error: Exception) -> bool:
    if isinstance(error, HttpError):
        return error.http_status >= _SERVER_ERROR or isinstance(error, TooManyRequests)
    return isinstance(error, Unreachable | JSONDecodeError | DiscoveryFailure)


def _trouble(error: Exception) -> str:
    if isinstance(error, HttpError):
        return f"answers with {error.http_status}"
    if isinstance(error, ConnectTimeout):
        return "does not answer in time"
    if isinstance(error, SSLError):
        return "does not come to terms over TLS (look at its certificate, and at cafile)"
    if isinstance(error, Unreachable):
        return "cannot be reached"
    return "gives an answer that cannot be used"


def _own_words(error: Exception, user: UserToken | None) -> str:
    """What the service says itself, on one line and without the user's token."""
    response = error.response if isinstance(error, HttpError) else None
    try:
        body = None if response is None else response.json()
    except ValueError:
        return ""
    # {"NeutronError": {"message": ...}}, {"badRequest": {"message": ...}}...
    faults = body.values() if isinstance(body, dict) else ()
    words = next(
        (one["message"] for one in faults if isinstance(one, dict) and "message" in one), ""
    )
    if user is not None:
        words = str(words).replace(user.value, "***")
    return " ".join(str(words).split())[:_SHOWN].rstrip(".")


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]
