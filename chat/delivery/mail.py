"""E-mails: their text, in the language of their reader, and sending."""

from __future__ import annotations

from email.utils import parseaddr

from django.conf import settings
from django.core.mail import EmailMessage
from django.template.loader import render_to_string
from django.utils.translation import gettext_lazy as _
from django.utils.translation import override

from chat.error_texts import error_text
from chat.models import Delivery, Task

#: Beginning of an answer or of an error that a mail quotes.
EXCERPT_CHARS = 1000
_TEMPLATES = {
    "task.completed": "chat/mail/task_completed.txt",
    "task.failed": "chat/mail/task_failed.txt",
    "task.expired": "chat/mail/task_expired.txt",
    "task.requires_action": "chat/mail/task_requires_action.txt",
    "budget.near_end": "chat/mail/budget_near_end.txt",
    "tasks.summary": "chat/mail/tasks_summary.txt",
}
_IN_WORDS = {
    "task.completed": _("finished"),
    "task.failed": _("failed"),
    "task.expired": _("expired"),
}


def message_of(delivery: Delivery) -> EmailMessage:
    """The mail of a delivery; its Message-ID is the same at every attempt.

    The template's first line is the subject.
    """
    task = delivery.task
    context: dict[str, object] = {
        "user": delivery.owner,
        "task": task,
        "excerpt": task.text[:EXCERPT_CHARS] if task else "",
        "is_cut": bool(task and len(task.text) > EXCERPT_CHARS),
        "most_mails_an_hour": settings.EMAIL_MAX_PER_HOUR,
        "counts": [(_IN_WORDS[event], delivery.data.get(event)) for event in _IN_WORDS],
        **delivery.data,
    }
    with override(delivery.owner.language or settings.LANGUAGE_CODE):
        context["error"] = _error_of(task) if task else ""
        rendered = render_to_string(_TEMPLATES[delivery.event], context)
    subject, _, body = rendered.partition("\n")
    domain = parseaddr(settings.DEFAULT_FROM_EMAIL)[1].rpartition("@")[2]
    return EmailMessage(
        subject=" ".join(subject.split()),
        body=body.strip() + "\n",
        to=[delivery.owner.email],
        headers={"Message-ID": f"<{delivery.pk}@{domain}>", "Auto-Submitted": "auto-generated"},
    )


def _error_of(task: Task) -> str:
    error = task.error or {}
    code, message = str(error.get("code", "")), str(error.get("message", ""))
    return str(error_text(code, message, error.get("params")))


def send(message: EmailMessage) -> None:
    """Send the mail; blocks. Raises OSError, as smtplib's errors are, if the server refuses it."""
    message.send()
