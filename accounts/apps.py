"""Accounts: who the user is."""

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "accounts"
