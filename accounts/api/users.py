"""REST: users, for staff. Other users see themselves."""

# Annotations stay objects here: ninja's paginate loses the module to look names up in.

from datetime import datetime
from typing import Literal

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q, QuerySet
from django.shortcuts import get_object_or_404
from ninja import Query, Router, Schema, Status
from ninja.pagination import paginate
from pydantic import Field, SecretStr

from accounts.access.permissions import may, require_permission
from accounts.access.roles import set_roles
from accounts.api.schemas import NO_LIMITS, LimitsOut, LimitsPatch, RoleRef
from accounts.authentication import AuthenticatedRequest
from accounts.idempotency import idempotent
from accounts.models import User
from aily.rest.etags import if_match
from aily.rest.openapi import example
from aily.rest.pages import Page, matching, ordered
from aily.rest.requests import RequestSchema

router = Router(tags=["users"])


class UserOut(Schema):
    model_config = example(
        id=42,
        username="alice",
        email="alice@example.com",
        is_active=True,
        is_staff=False,
        is_superuser=False,
        queue_weight=1.0,
        date_joined="2026-01-31T12:00:00Z",
        last_login=None,
    )

    id: int
    username: str
    email: str
    is_active: bool
    is_staff: bool
    is_superuser: bool
    roles: list[RoleRef] = Field(alias="groups")
    queue_weight: float
    limits: LimitsOut
    date_joined: datetime
    last_login: datetime | None

    @staticmethod
    def resolve_limits(user: User) -> User:
        return user


class UserFilter(Schema):
    search: str = Field("", max_length=150, description="Part of the name or the address.")
    role: int | None = Field(None, description="Those who have this role.")
    is_active: bool | None = None
    ordering: Literal["username", "-username", "date_joined", "-date_joined"] = "username"


class UserPatch(RequestSchema):
    model_config = example(
        email="alice@example.com", queue_weight=2, limits={"max_tasks_in_flight": 500}
    )

    email: str = Field("", max_length=254)
    is_active: bool = Field(True, description="False: shut out at once, open sockets included.")
    is_staff: bool = Field(False, description="May only be set by a superuser.")
    roles: list[int] = Field(
        default_factory=list,
        max_length=1000,
        description="Ids, of roles that grant nothing you do not have. Not for yourself.",
    )
    queue_weight: float = Field(1, ge=0.1, le=100)
    limits: LimitsPatch = NO_LIMITS


class UserIn(UserPatch):
    model_config = example(
        username="alice",
        password="a long sentence",  # noqa: S106 - an example
        email="alice@example.com",
        roles=[],
        limits={"max_tasks_in_flight": 500},
    )

    username: str = Field(min_length=1, max_length=150)
    password: SecretStr | None = Field(
        None, description="Null: logs in with keys alone. Not by a key."
    )


def _visible(user: User) -> QuerySet[User]:
    users = User.objects.prefetch_related("groups").order_by("username")
    return users if may(user, "accounts.view_user") else users.filter(pk=user.pk)


def _write(user: User, payload: UserPatch) -> User:
    """Raises Forbidden, InvalidRequest and ValidationError; then nothing has changed.

    The rules of delegation are enforced as rows are saved (accounts/delegation_checks.py).
    """
    fields = payload.dict(exclude_unset=True, exclude={"password"})
    roles = fields.pop("roles", None)
    for name, value in {**fields.pop("limits", {}), **fields}.items():
        setattr(user, name, value)
    with transaction.atomic():
        user.full_clean(exclude={"password"})
        user.save()
        if roles is not None:
            set_roles(user, roles)
    return user


def _set_password(user: User, password: SecretStr | None) -> None:
    if password is None:
        user.set_unusable_password()
        return
    try:
        validate_password(password.get_secret_value(), user)
    except ValidationError as error:
        raise ValidationError({"password": error}) from None
    user.set_password(password.get_secret_value())


@router.get("/users", response=list[UserOut], summary="Users")
@paginate(Page)
def list_users(request: AuthenticatedRequest, filters: Query[UserFilter]) -> QuerySet[User]:
    """All of them for staff with accounts.view_user; else yourself."""
    users = _visible(request.auth.user)
    if filters.search:
        found = Q(username__icontains=filters.search) | Q(email__icontains=filters.search)
        users = users.filter(found)
    users = matching(users, groups=filters.role, is_active=filters.is_active)
    return ordered(users, filters.ordering)


@router.post("/users", response={201: UserOut}, summary="Make a user")
@idempotent(UserOut)
def create_user(request: AuthenticatedRequest, payload: UserIn) -> Status[User]:
    require_permission(request.auth.user, "accounts.add_user")
    user = User(username=payload.username)
    _set_password(user, payload.password)
    return Status(201, _write(user, payload))


@router.get("/users/{int:user_id}", response=UserOut, summary="One user")
def get_user(request: AuthenticatedRequest, user_id: int) -> User:
    return get_object_or_404(_visible(request.auth.user), pk=user_id)


@router.patch("/users/{int:user_id}", response=UserOut, summary="Change a user")
@if_match(UserOut, get_user)
def edit_user(request: AuthenticatedRequest, user_id: int, payload: UserPatch) -> User:
    """Users are not deleted here, as their tasks would go with them: shut them out."""
    require_permission(request.auth.user, "accounts.change_user")
    user = get_object_or_404(User.objects.prefetch_related("groups"), pk=user_id)
    return _write(user, payload)
