"""Ways in which somebody of the staff might come to more than they have: forms and requests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import Permission
from django.http import HttpResponse
from django.test import Client
from guardian.models import GroupObjectPermission

from accounts.models import APIKey, MenuItem, Role, RoleLimits, User
from chat.models import LLMModel, Scene

JSON = "application/json"
NEW_PASSWORD = "taken-over-9"
_INLINE = "guardian-groupobjectpermission-content_type-object_pk"


@dataclass(frozen=True)
class Cast:
    """Whom and what there is to attack. Mallory attacks, and is of the staff."""

    mallory: User
    root: User
    #: Has a role that allows more than Mallory may do.
    boss: User
    #: Nobody in particular, with one key.
    alice: User
    #: What the boss has: `change_task` on all objects, and the use of one restricted scene.
    mighty: Role
    #: Nothing is granted to it; Mallory has it.
    plain: Role
    scene: Scene
    model: LLMModel
    item: MenuItem


Attempt = Callable[[Client, Cast], HttpResponse | None]


@dataclass(frozen=True)
class Attack:
    attempt: Attempt
    #: All that it takes to get as far as to the rules.
    permissions: tuple[str, ...]


ATTACKS: dict[str, Attack] = {}


def attack(*permissions: str) -> Callable[[Attempt], Attempt]:
    def register(attempt: Attempt) -> Attempt:
        ATTACKS[attempt.__name__] = Attack(attempt, permissions)
        return attempt

    return register


def permission(name: str) -> Permission:
    app, _, codename = name.partition(".")
    found: Permission = Permission.objects.get(content_type__app_label=app, codename=codename)
    return found


def user_form(user: User, **fields: Any) -> dict[str, Any]:
    """The admin's form of a user as it is, but for `fields`."""
    flags = {name: "on" for name in ("is_active", "is_staff") if getattr(user, name)}
    return {
        "username": user.username,
        "email": user.email,
        "queue_weight": user.queue_weight,
        "date_joined_0": "2026-01-01",
        "date_joined_1": "00:00",
        "groups": [role.pk for role in user.groups.all()],
        **flags,
        **fields,
    }


def change(client: Client, user: User, **fields: Any) -> Any:
    path = f"/admin/accounts/user/{user.pk}/change/"
    return client.post(path, user_form(user, **fields))


def _admin_action(client: Client, table: str, action: str, *pks: int) -> Any:
    form = {"action": action, "_selected_action": list(pks), "post": "yes"}
    return client.post(f"/admin/{table}/", form)


# --- The admin: users -----------------------------------------------------------------------------
@attack("accounts.change_user")
def admin_makes_oneself_a_superuser(client: Client, cast: Cast) -> Any:
    return change(client, cast.mallory, is_superuser="on")


@attack("accounts.change_user")
def admin_makes_oneself_a_superuser_in_a_popup(client: Client, cast: Cast) -> Any:
    path = f"/admin/accounts/user/{cast.mallory.pk}/change/?_popup=1&_to_field=id"
    return client.post(path, user_form(cast.mallory, is_superuser="on", _popup="1"))


@attack("accounts.change_user")
def admin_makes_another_staff(client: Client, cast: Cast) -> Any:
    return change(client, cast.alice, is_staff="on", is_superuser="on")


@attack("accounts.change_user")
def admin_gives_oneself_permissions(client: Client, cast: Cast) -> Any:
    every = list(Permission.objects.values_list("pk", flat=True))
    return change(client, cast.mallory, user_permissions=every)


@attack("accounts.change_user")
def admin_gives_another_permissions(client: Client, cast: Cast) -> Any:
    every = list(Permission.objects.values_list("pk", flat=True))
    return change(client, cast.alice, user_permissions=every)


@attack("accounts.change_user")
def admin_gives_oneself_a_role(client: Client, cast: Cast) -> Any:
    return change(client, cast.mallory, groups=[cast.mighty.pk, cast.plain.pk])


@attack("accounts.change_user")
def admin_gives_another_a_mighty_role(client: Client, cast: Cast) -> Any:
    return change(client, cast.alice, groups=[cast.mighty.pk])


@attack("accounts.change_user")
def admin_raises_ones_own_limits(client: Client, cast: Cast) -> Any:
    return change(client, cast.mallory, queue_weight="100", requests_per_minute="2000000000")


@attack("accounts.change_user")
def admin_sets_a_superusers_password(client: Client, cast: Cast) -> Any:
    form = {"password1": NEW_PASSWORD, "password2": NEW_PASSWORD, "usable_password": "true"}
    client.post(f"/admin/accounts/user/{cast.root.pk}/password/", form)
    return client.post(f"/admin/accounts/user/{cast.boss.pk}/password/", form)


@attack("accounts.change_user")
def admin_changes_a_superusers_address(client: Client, cast: Cast) -> Any:
    change(client, cast.root, email="mallory@aily.example")
    return change(client, cast.boss, email="mallory@aily.example", username="old-boss")


@attack("accounts.change_user")
def admin_shuts_out_a_superuser(client: Client, cast: Cast) -> Any:
    change(client, cast.root, is_active="")
    return change(client, cast.boss, is_active="", groups=[])


@attack("accounts.view_user", "accounts.delete_user", "accounts.delete_apikey")
def admin_deletes_a_superuser(client: Client, cast: Cast) -> Any:
    for user in (cast.root, cast.boss):
        client.post(f"/admin/accounts/user/{user.pk}/delete/", {"post": "yes"})
    return _admin_action(client, "accounts/user", "delete_selected", cast.root.pk, cast.boss.pk)


@attack("accounts.change_user")
def admin_resets_the_totp_of_a_superuser(client: Client, cast: Cast) -> Any:
    return _admin_action(client, "accounts/user", "reset_totp", cast.root.pk, cast.boss.pk)


@attack("accounts.add_user", "accounts.change_user")
def admin_adds_a_superuser(client: Client, cast: Cast) -> Any:
    form = {
        "username": "mallory2",
        "password1": NEW_PASSWORD,
        "password2": NEW_PASSWORD,
        "usable_password": "true",
        "is_superuser": "on",
        "is_staff": "on",
        "groups": [cast.mighty.pk],
        "user_permissions": [permission("chat.change_task").pk],
    }
    return client.post("/admin/accounts/user/add/?_popup=1", {**form, "_popup": "1"})


# --- The admin: roles -----------------------------------------------------------------------------
@attack("accounts.change_role")
def admin_gives_ones_role_permissions(client: Client, cast: Cast) -> Any:
    every = list(Permission.objects.values_list("pk", flat=True))
    form = {"name": "plain", "permissions": every}
    return client.post(f"/admin/accounts/role/{cast.plain.pk}/change/", form)


@attack("accounts.change_role", "accounts.delete_role")
def admin_takes_a_mighty_role_apart(client: Client, cast: Cast) -> Any:
    client.post(f"/admin/accounts/role/{cast.mighty.pk}/change/", {"name": "weak"})
    client.post(f"/admin/accounts/role/{cast.mighty.pk}/delete/", {"post": "yes"})
    return _admin_action(client, "accounts/role", "delete_selected", cast.mighty.pk)


@attack("accounts.add_role")
def admin_adds_a_mighty_role(client: Client, cast: Cast) -> Any:
    every = list(Permission.objects.values_list("pk", flat=True))
    return client.post("/admin/accounts/role/add/", {"name": "new", "permissions": every})


@attack("accounts.change_rolelimits", "accounts.delete_rolelimits")
def admin_raises_the_limits_of_ones_role(client: Client, cast: Cast) -> Any:
    limits = RoleLimits.objects.get(role=cast.plain)
    form = {"role": cast.plain.pk, "max_tasks_queued": "2000000000"}
    client.post(f"/admin/accounts/rolelimits/{limits.pk}/change/", form)
    return client.post(f"/admin/accounts/rolelimits/{limits.pk}/delete/", {"post": "yes"})


def _inline(role: Role, name: str) -> dict[str, Any]:
    return {
        f"{_INLINE}-TOTAL_FORMS": "1",
        f"{_INLINE}-INITIAL_FORMS": "0",
        f"{_INLINE}-0-group": role.pk,
        f"{_INLINE}-0-permission": permission(name).pk,
    }


@attack("chat.change_scene", "guardian.add_groupobjectpermission")
def admin_grants_ones_role_the_use_of_a_scene(client: Client, cast: Cast) -> Any:
    form = {
        "slug": cast.scene.slug, "title": "T", "is_enabled": "on", "is_restricted": "on",
        "versions-TOTAL_FORMS": "0", "versions-INITIAL_FORMS": "0",
        **_inline(cast.plain, "chat.use_scene"),
    }  # fmt: skip
    return client.post(f"/admin/chat/scene/{cast.scene.pk}/change/", form)


@attack("chat.change_scene")
def admin_opens_a_restricted_scene(client: Client, cast: Cast) -> Any:
    form = {
        "slug": cast.scene.slug, "title": "T", "is_enabled": "on",
        "versions-TOTAL_FORMS": "0", "versions-INITIAL_FORMS": "0",
        f"{_INLINE}-TOTAL_FORMS": "0", f"{_INLINE}-INITIAL_FORMS": "0",
    }  # fmt: skip
    return client.post(f"/admin/chat/scene/{cast.scene.pk}/change/", form)


@attack("chat.change_llmmodel")
def admin_opens_a_restricted_model(client: Client, cast: Cast) -> Any:
    form = {
        "provider": cast.model.provider_id, "name": cast.model.name, "max_concurrency": "5",
        "default_max_tokens": "100", "params": "{}", "input_price": "0", "is_enabled": "on",
        "cached_input_price": "0", "output_price": "0", "currency": "USD",
        f"{_INLINE}-TOTAL_FORMS": "0", f"{_INLINE}-INITIAL_FORMS": "0",
    }  # fmt: skip
    return client.post(f"/admin/chat/llmmodel/{cast.model.pk}/change/", form)


@attack("chat.add_llmmodel", "chat.change_llmmodel")
def admin_and_rest_call_a_restricted_model_by_another_name(client: Client, cast: Cast) -> Any:
    body = {"upstream_name": cast.model.name}
    client.post("/api/models", {**body, "name": "cheap", "provider": "acme"}, content_type=JSON)
    client.patch("/api/models/plain", body, content_type=JSON)
    form = {
        "provider": cast.model.provider_id, "name": "plain", "max_concurrency": "5",
        "default_max_tokens": "100", "params": "{}", "input_price": "0", "is_enabled": "on",
        "cached_input_price": "0", "output_price": "0", "currency": "USD", **body,
        f"{_INLINE}-TOTAL_FORMS": "0", f"{_INLINE}-INITIAL_FORMS": "0",
    }  # fmt: skip
    plain = LLMModel.objects.get(name="plain")
    return client.post(f"/admin/chat/llmmodel/{plain.pk}/change/", form)


@attack("accounts.change_menuitem")
def admin_opens_a_restricted_menu_item(client: Client, cast: Cast) -> Any:
    form = {
        "label": "Secret", "position": "0", "translations": "{}", "is_enabled": "on",
        f"{_INLINE}-TOTAL_FORMS": "0", f"{_INLINE}-INITIAL_FORMS": "0",
    }  # fmt: skip
    return client.post(f"/admin/accounts/menuitem/{cast.item.pk}/change/", form)


@attack("chat.add_sceneversion")
def admin_writes_a_version_with_a_restricted_model(client: Client, cast: Cast) -> Any:
    form = {
        "scene": Scene.objects.get(slug="open").pk, "user_template": "{{ x }}",
        "variables_schema": "{}", "params": "{}", "model": cast.model.pk,
    }  # fmt: skip
    client.post("/admin/chat/sceneversion/add/", form)
    form |= {"model": "", "fallback_models": f'["{cast.model.name}"]'}
    return client.post("/admin/chat/sceneversion/add/", form)


# --- The admin: keys ------------------------------------------------------------------------------
@attack("accounts.add_apikey")
def admin_makes_a_key_for_another(client: Client, cast: Cast) -> Any:
    for owner in (cast.root, cast.boss, cast.alice):
        client.post("/admin/accounts/apikey/add/", {"owner": owner.pk, "name": "theirs"})
    return None


@attack("accounts.change_apikey")
def admin_changes_the_keys_of_others(client: Client, cast: Cast) -> Any:
    for key in APIKey.objects.filter(name="old"):
        form = {"owner": cast.mallory.pk, "name": "new", "requests_per_minute": "1"}
        client.post(f"/admin/accounts/apikey/{key.pk}/change/", form)
    return None


@attack("accounts.change_apikey", "accounts.delete_apikey")
def admin_revokes_and_deletes_the_keys_of_a_superuser(client: Client, cast: Cast) -> Any:
    keys = APIKey.objects.filter(owner__in=[cast.root, cast.boss])
    pks = list(keys.values_list("pk", flat=True))
    for pk in pks:
        client.post(f"/admin/accounts/apikey/{pk}/delete/", {"post": "yes"})
    _admin_action(client, "accounts/apikey", "delete_selected", *pks)
    return _admin_action(client, "accounts/apikey", "revoke", *pks)


# --- REST -----------------------------------------------------------------------------------------
def _patch(client: Client, user: User, **fields: Any) -> Any:
    return client.patch(f"/api/users/{user.pk}", fields, content_type=JSON)


@attack("accounts.change_user")
def rest_makes_staff(client: Client, cast: Cast) -> Any:
    _patch(client, cast.mallory, is_superuser=True)
    return _patch(client, cast.alice, is_staff=True)


@attack("accounts.change_user")
def rest_gives_any_role(client: Client, cast: Cast) -> Any:
    _patch(client, cast.alice, roles=[cast.mighty.pk])
    return _patch(client, cast.mallory, roles=[cast.plain.pk, cast.mighty.pk])


@attack("accounts.change_user")
def rest_sheds_a_role_with_limits(client: Client, cast: Cast) -> Any:
    return _patch(client, cast.mallory, roles=[])


@attack("accounts.change_user")
def rest_raises_ones_own_limits(client: Client, cast: Cast) -> Any:
    return _patch(client, cast.mallory, queue_weight=100, limits={"requests_per_minute": 10**9})


@attack("accounts.change_user")
def rest_changes_a_superuser(client: Client, cast: Cast) -> Any:
    for user in (cast.root, cast.boss):
        _patch(client, user, is_active=False)
        _patch(client, user, email="mallory@aily.example", roles=[])
    return None


@attack("accounts.add_user")
def rest_adds_a_mighty_user(client: Client, cast: Cast) -> Any:
    body = {"username": "mallory2", "password": NEW_PASSWORD}
    client.post("/api/users", {**body, "is_staff": True}, content_type=JSON)
    return client.post("/api/users", {**body, "roles": [cast.mighty.pk]}, content_type=JSON)


@attack("accounts.add_role")
def rest_adds_a_mighty_role(client: Client, cast: Cast) -> Any:
    body: dict[str, Any] = {"name": "new", "permissions": ["chat.change_task"]}
    client.post("/api/roles", body, content_type=JSON)
    body = {"name": "new", "objects": [{"permission": "chat.use_scene", "object": "shut"}]}
    return client.post("/api/roles", body, content_type=JSON)


@attack("accounts.change_role")
def rest_gives_ones_role_permissions(client: Client, cast: Cast) -> Any:
    path = f"/api/roles/{cast.plain.pk}"
    client.patch(path, {"permissions": ["chat.change_task"]}, content_type=JSON)
    client.patch(path, {"limits": {"max_tasks_queued": None}}, content_type=JSON)
    objects = [{"permission": "chat.use_llmmodel", "object": cast.model.name}]
    return client.patch(path, {"objects": objects}, content_type=JSON)


@attack("accounts.change_role", "accounts.delete_role")
def rest_takes_a_mighty_role_apart(client: Client, cast: Cast) -> Any:
    path = f"/api/roles/{cast.mighty.pk}"
    bodies: list[Any] = [{"name": "weak"}, {"permissions": []}, {"objects": []}]
    for body in bodies:
        client.patch(path, body, content_type=JSON)
    return client.delete(path)


@attack("chat.change_scene", "chat.change_llmmodel", "accounts.change_menuitem")
def rest_opens_what_is_restricted(client: Client, cast: Cast) -> Any:
    body = {"is_restricted": False}
    client.patch("/api/scenes/shut", body, content_type=JSON)
    client.patch(f"/api/models/{cast.model.name}", body, content_type=JSON)
    return client.patch(f"/api/menus/items/{cast.item.pk}", body, content_type=JSON)


@attack("chat.add_sceneversion", "chat.change_sceneversion", "chat.publish_scene")
def rest_writes_a_version_with_a_restricted_model(client: Client, cast: Cast) -> Any:
    path = "/api/scenes/open/versions"
    for fields in ({"model": cast.model.name}, {"fallback_models": [cast.model.name]}):
        client.post(path, {"user_template": "{{ x }}", **fields}, content_type=JSON)
        client.patch(f"{path}/1", fields, content_type=JSON)
    client.patch(f"{path}/2", {"user_template": "{{ mine }}"}, content_type=JSON)
    client.post(f"{path}/2/publish")
    return client.post("/api/scenes/open/live", {"version": 3}, content_type=JSON)


def power() -> dict[str, Any]:
    """All that says who may do what, and what an attack may not change."""
    users = ("username", "password", "email", "is_active", "is_staff", "is_superuser", "has_totp")
    limits = ("requests_per_minute", "max_tasks_in_flight", "max_tasks_queued", "queue_weight")
    return {
        "users": list(User.objects.order_by("pk").values_list("pk", *users, *limits)),
        "of users": sorted(
            User.user_permissions.through.objects.values_list("user_id", "permission_id")
        ),
        "members": sorted(User.groups.through.objects.values_list("user_id", "group_id")),
        "roles": list(
            Role.objects.order_by("pk", "permissions").values_list("pk", "name", "permissions")),
        "objects": list(GroupObjectPermission.objects.order_by("pk").values_list()),
        "limits": list(RoleLimits.objects.order_by("pk").values_list()),
        "keys": list(APIKey.objects.order_by("pk").values_list("owner", "name", "revoked_at")),
        "restricted": [
            list(table.objects.order_by("pk").values_list("pk", "is_restricted"))
            for table in (Scene, LLMModel, MenuItem)
        ],
        "models": list(LLMModel.objects.order_by("pk").values_list("name", "upstream_name")),
        "versions": list(
            Scene.objects.order_by("pk", "versions").values_list(
                "slug", "live_version", "versions__model", "versions__fallback_models",
                "versions__user_template", "versions__published_at",
            )
        ),
    }  # fmt: skip
