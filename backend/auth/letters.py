"""The letters that we send: plain text, with a link to the web app or, without one, the token itself.

The token stands in the link's fragment, which browsers keep to themselves: no server logs it.
"""

from __future__ import annotations

from backend.auth import proof
from backend.mail import Letter
from backend.models import User
from backend.settings import Settings


def reset(settings: Settings, user: User) -> Letter:
    token = proof.issue(settings.auth, "reset", user)
    return Letter(
        user.email,
        "Set a new password",
        f"""Somebody, probably you, asked to set a new password for this account.

{_way(settings, "password/reset", token)}

It is good once, for {settings.auth.mail_minutes} minutes. If it wasn't you, do nothing: your password stays as it is.
""",
    )


def verification(settings: Settings, user: User) -> Letter:
    token = proof.issue(settings.auth, "verify", user)
    return Letter(
        user.email,
        "Confirm your e-mail address",
        f"""Please confirm that this address is yours.

{_way(settings, "email/verify", token)}

It is good once, for {settings.auth.mail_minutes} minutes. If you have no account with us, do nothing.
""",
    )


def invitation(settings: Settings, email: str, inviter: str, code: str) -> Letter:
    """The inviter is named by their address: a tenant's name is any text, and we send this to strangers."""
    base = settings.mail.link_base.rstrip("/")
    way = f"Open this link:\n\n{base}/invitation#code={code}"
    if not base:
        way = f"Send this code to POST /api/v1/invitations/accept, or with POST /api/v1/register:\n\n{code}"
    return Letter(
        email,
        "You are invited",
        f"""{inviter} invites you to work together, with this e-mail address.

{way}

It is good once, for {settings.auth.invitation_days:g} days. If you don't know them, do nothing.
""",
    )


def password_changed(user: User) -> Letter:
    return Letter(
        user.email,
        "Your password was changed",
        """The password of your account was changed, and every login was ended.

If that wasn't you, set a new one now with "forgotten password".
""",
    )


def _way(settings: Settings, route: str, token: str) -> str:
    base = settings.mail.link_base.rstrip("/")
    if base:
        return f"Open this link:\n\n{base}/{route}#token={token}"
    return f"Send this token to POST /api/v1/{route}:\n\n{token}"
