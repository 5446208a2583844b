"""The user of a provider's subject: known, linked by e-mail or new; and roles by its groups."""

from __future__ import annotations

import logging
import re

from allauth.socialaccount.models import SocialAccount
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction
from django.utils.translation import gettext as _

from accounts.delegation import without_actor
from accounts.models import Role, User
from accounts.oidc.tokens import Claims

logger = logging.getLogger(__name__)

_NO_USERNAME = re.compile(r"[^\w.@+-]+")


class LoginRefusedError(Exception):
    """An authenticated subject may not log in. The message is shown to the user."""


def user_of(account: SocialAccount, claims: Claims) -> User:
    """Find, link or make the user of this subject. Raises LoginRefusedError."""
    # Without an actor: the browser may still be logged in as another user.
    with transaction.atomic(), without_actor():
        return _user_of(account, claims)


def _user_of(account: SocialAccount, claims: Claims) -> User:
    if account.pk is None:
        account.user = _linked_user(claims) or _new_user(claims)
        account.save()
    user: User = account.user
    if not user.is_active:
        raise LoginRefusedError(_("Your account here is disabled."))
    _apply_groups(user, claims)
    return user


def _linked_user(claims: Claims) -> User | None:
    """Return the user with the subject's verified e-mail address, if OIDC_LINK_BY_EMAIL is on."""
    email = _verified_email(claims)
    if not settings.OIDC_LINK_BY_EMAIL or not email:
        return None
    found = list(User.objects.filter(email__iexact=email)[:2])
    if not found:
        return None
    # The address may have belonged to another person before, at the provider or here.
    is_taken = SocialAccount.objects.filter(user=found[0]).exists()
    if len(found) > 1 or is_taken:
        logger.warning("OIDC: an e-mail address has several users, or one who is linked already")
        raise LoginRefusedError(_("It is not clear which account here is yours. Ask the staff."))
    return found[0]


def _new_user(claims: Claims) -> User:
    if not settings.OIDC_CREATE_USERS:
        raise LoginRefusedError(_("You have no account here. Ask the staff for one."))
    email = _verified_email(claims)
    wanted = _text(claims, "preferred_username") or email.partition("@")[0]
    user = User(
        username=_free_username(_NO_USERNAME.sub("", wanted)[:140] or "user"),
        # Mails go there, so only a verified address is taken.
        email=email,
        first_name=_text(claims, "given_name")[:150],
        last_name=_text(claims, "family_name")[:150],
    )
    user.set_unusable_password()
    user.save()
    return user


def _free_username(wanted: str) -> str:
    """Return a username like `wanted` that is free: equal names need not be the same person."""
    alike = User.objects.filter(username__istartswith=wanted).values_list("username", flat=True)
    taken = {name.lower() for name in alike}
    name, number = wanted, 1
    while name.lower() in taken:
        number += 1
        name = f"{wanted}-{number}"
    return name


def _apply_groups(user: User, claims: Claims) -> None:
    """Give and take away the roles and staff status that the settings map groups to."""
    claimed = claims.get(settings.OIDC_GROUPS_CLAIM, [])
    names = [claimed] if isinstance(claimed, str) else claimed
    groups = {name for name in names if isinstance(name, str)}
    roles: dict[str, str] = settings.OIDC_ROLES
    wanted = {role for group, role in roles.items() if group in groups}
    had = user.groups.filter(name__in=roles.values())
    user.groups.remove(*had.exclude(name__in=wanted))
    user.groups.add(*Role.objects.filter(name__in=wanted).exclude(user=user))
    if settings.OIDC_STAFF_GROUP and not user.is_superuser:
        is_staff = settings.OIDC_STAFF_GROUP in groups
        if is_staff != user.is_staff:
            user.is_staff = is_staff
            user.save(update_fields=["is_staff"])


def _verified_email(claims: Claims) -> str:
    # Some providers write the boolean as text.
    is_verified = str(claims.get("email_verified", "")).lower() == "true"
    email = _text(claims, "email")
    try:
        validate_email(email)
    except ValidationError:
        return ""
    return email if is_verified else ""


def _text(claims: Claims, name: str) -> str:
    value = claims.get(name)
    return value.replace("\0", "") if isinstance(value, str) else ""
