"""Apps, middleware and templates. `oidc` and `cors` add theirs where they are turned on."""

from __future__ import annotations

INSTALLED_APPS = [
    # First: the actors need the broker.
    "aily.apps.AilyConfig",
    "accounts.apps.AdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "servestatic.runserver_nostatic",
    "django.contrib.staticfiles",
    "channels",
    "csp",
    "auditlog",
    "guardian",
    "ninja",
    "accounts",
    "chat",
    "chat.tables.apps.TablesConfig",
]
MIDDLEWARE = [
    "aily.observability.middleware.ObserveRequests",
    # Django's and csp's, without a thread a step.
    "aily.web.middleware.SecurityMiddleware",
    "servestatic.middleware.ServeStaticMiddleware",
    "aily.web.middleware.CSPMiddleware",
    "aily.web.middleware.SessionMiddleware",
    "aily.web.language.PageLocaleMiddleware",
    "aily.web.middleware.CommonMiddleware",
    "aily.web.middleware.CsrfViewMiddleware",
    "aily.web.middleware.AuthenticationMiddleware",
    "aily.web.middleware.MessageMiddleware",
    "aily.web.middleware.XFrameOptionsMiddleware",
    "accounts.audit.remember_request",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        # Those of aily, which is the first app, come before the admin's.
        "DIRS": [],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
