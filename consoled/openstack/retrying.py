"""How often, and how long, a service that fails is asked again; pure."""

from __future__ import annotations

from attrs import frozen


@frozen
class RetryRule:
    """Doubling waits, bounded in number and in time.

    :ivar most: how often a service is asked again.
    :ivar first: seconds of the first wait.
    :ivar longest: seconds of the longest wait.
    :ivar within: seconds from the first question on, after which nothing is asked again.
    """

    most: int = 5
    first: float = 1.0
    longest: float = 30.0
    within: float = 120.0

    def wait(self, done: int, passed: float, told: float, part: float) -> float | None:
        """Seconds until the service is asked again; None where it is not.

        A random half of a wait keeps those apart that failed together.

        :param done: how often it was asked again so far.
        :param passed: seconds since the first question.
        :param told: seconds that the service asks us to wait (``Retry-After``), or 0.
        :param part: a random number, 0 <= part < 1.
        """
        if done >= self.most:
            return None
        usual = min(self.longest, self.first * 2.0**done) * (0.5 + part / 2)
        wait = max(usual, told)
        return None if passed + wait > self.within else wait
