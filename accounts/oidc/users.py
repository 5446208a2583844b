"""Who a provider's subject is here: known, linked, or new; and what its groups make of them."""

from __future__ import annotations

import logging
import re
from typing import Any

from allauth.socialaccount.models import SocialAccount
from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction

from accounts.delegation import without_actor
from accounts.models import Role, User

logger = logging.getLogger(__name__)

Claims = dict[str, Any]
_NO_USERNAME = re.compile(r"[^\w.@+-]+")


class LoginRefusedError(Exception):
    """The provider vouches for them, and yet they do not get in. The message is for them."""


def user_of(account: SocialAccount, claims: Claims) -> User:
    """The user of this subject, who is found, linked or made. Raises LoginRefusedError."""
    # What the provider says holds, whoever this browser was logged in as before.
    with transaction.atomic(), without_actor():
        return _user_of(account, claims)


def _user_of(account: SocialAccount, claims: Claims) -> User:
    if account.pk is None:
        account.user = _linked_user(claims) or _new_user(claims)
        account.save()
    user: User = account.user
    if not user.is_active:
        raise LoginRefusedError("Your account here is disabled.")
    _follow_groups(user, claims)
    return user


def _linked_user(claims: Claims) -> User | None:
    """Who has the subject's verified e-mail address, where the operator allows to go by that."""
    email = _verified_email(claims)
    if not settings.OIDC_LINK_BY_EMAIL or not email:
        return None
    found = list(User.objects.filter(email__iexact=email)[:2])
    if not found:
        return None
    # An address may have been somebody else's before, at the provider or here.
    is_taken = SocialAccount.objects.filter(user=found[0]).exists()
    if len(found) > 1 or is_taken:
        logger.warning("OIDC: an e-mail address is of several, or of one who is linked already")
        raise LoginRefusedError("It is not clear which account here is yours. Ask the staff.")
    return found[0]


def _new_user(claims: Claims) -> User:
    if not settings.OIDC_CREATE_USERS:
        raise LoginRefusedError("You have no account here. Ask the staff for one.")
    email = _verified_email(claims)
    wanted = _text(claims, "preferred_username") or email.partition("@")[0]
    user = User(
        username=_free_username(_NO_USERNAME.sub("", wanted)[:140] or "user"),
        # Mails go there: an address that may be somebody else's is none.
        email=email,
        first_name=_text(claims, "given_name")[:150],
        last_name=_text(claims, "family_name")[:150],
    )
    user.set_unusable_password()
    user.save()
    return user


def _free_username(wanted: str) -> str:
    """A name is only a name: who has the same one here already is somebody else."""
    alike = User.objects.filter(username__istartswith=wanted).values_list("username", flat=True)
    taken = {name.lower() for name in alike}
    name, number = wanted, 1
    while name.lower() in taken:
        number += 1
        name = f"{wanted}-{number}"
    return name


def _follow_groups(user: User, claims: Claims) -> None:
    """Give and take away what OIDC_ROLES and OIDC_STAFF_GROUP name, and nothing else."""
    told = claims.get(settings.OIDC_GROUPS_CLAIM, [])
    groups = {told} if isinstance(told, str) else {one for one in told if isinstance(one, str)}
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
