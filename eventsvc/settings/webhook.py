"""
The settings of the handler C{webhook}.
"""

from __future__ import annotations

import attrs

from eventsvc.settings.kinds import SECONDS, SIGNING_SECRETS, SWITCH, URL
from eventsvc.settings.reading import InvalidSettings, setting


@attrs.frozen(kw_only=True)
class WebhookSettings:
    """
    The settings of the handler C{webhook}.

    @ivar secret: the keys to sign with, the newest first: none to sign nothing,
        C{None} if it is not set.
    """

    url: str = setting("WEBHOOK_URL", URL, "", "Where the handler webhook posts events.")
    secret: tuple[bytes, ...] | None = setting(
        "WEBHOOK_SECRET",
        SIGNING_SECRETS,
        None,
        "Secret that signs webhooks, as in Standard Webhooks; with several, each signs, for a change of secrets.",
        secret=True,
    )
    timeout: float = setting(
        "WEBHOOK_TIMEOUT", SECONDS, 10.0, "Longest duration of one webhook, connection and answer included."
    )
    allow_private: bool = setting(
        "WEBHOOK_ALLOW_PRIVATE",
        SWITCH,
        False,
        "Let webhooks connect to addresses that are not public, such as those of loopback and private networks.",
    )

    def check(self) -> None:
        """
        Check that nothing is missing.

        @raise InvalidSettings: the text names what is.
        """
        problems = []
        if not self.url:
            problems.append("WEBHOOK_URL is not set: the handler webhook needs it")
        if self.secret is None:
            problems.append(
                "WEBHOOK_SECRET is not set: the handler webhook signs what it sends; make one with "
                "`echo whsec_$(openssl rand -base64 32)`, or set none to sign nothing"
            )
        if problems:
            raise InvalidSettings("\n".join(problems))
