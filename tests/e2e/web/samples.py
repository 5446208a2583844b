"""A user with more of everything than a page of the REST interface has."""

from __future__ import annotations

READER, PASSWORD = "reader", "long-lists-7"
#: May change and publish scenes.
EDITOR = "editor"
CHATS, TURNS = 130, 75
MARKDOWN = r"""# A heading

**重点：**内容，这是**“中文”**的。

هذه فقرة عربية.

- one
- [x] two

| a | b |
|---|---|
| 1 | 2 |

```python
def f(x: int) -> str:
    return "text"
```

Inline $a_1 < b$ costs $5, not $6.

$$
\begin{aligned} a &= b \\ c &= \frac{1}{2} \end{aligned}
$$

<script>document.title = "stolen"</script><b onclick="x()">bold</b> [x](javascript:alert(1))

$\href{javascript:alert(1)}{x}$ and $\style{color:red}{y}$ and [defined] later.

[defined]: https://example.org/defined
"""

#: As pydantic writes them, in the author's order, and a property that no form knows.
ORDER_SCHEMA = {
    "type": "object",
    "properties": {
        "zip": {"type": "string", "title": "Zip", "maxLength": 9, "minLength": 1},
        "amount": {"type": "integer", "title": "Amount", "default": 1},
        "nickname": {
            "anyOf": [{"type": "string", "maxLength": 80}, {"type": "null"}],
            "default": None,
            "title": "Nickname",
        },
        "kind": {
            "title": "Kind",
            "oneOf": [{"const": "buy", "title": "Buy"}, {"const": "return", "title": "Return"}],
        },
        "when": {"type": "string", "format": "date-time", "title": "When"},
        "payment": {
            "title": "Payment",
            "oneOf": [{"$ref": "#/$defs/Cash"}, {"$ref": "#/$defs/Card"}],
            "discriminator": {"propertyName": "method"},
        },
        "items": {"type": "array", "title": "Items", "items": {"$ref": "#/$defs/Item"}},
        "address": {"anyOf": [{"$ref": "#/$defs/Address"}, {"type": "null"}], "title": "Address"},
        "odd": {"title": "Odd", "type": "object", "patternProperties": {"^x": {}}},
    },
    "required": ["zip", "kind"],
    "$defs": {
        "Cash": {
            "type": "object",
            "title": "Cash",
            "properties": {"method": {"const": "cash", "default": "cash"}},
        },
        "Card": {
            "type": "object",
            "title": "Card",
            "properties": {
                "method": {"const": "card", "default": "card"},
                "digits": {"type": "string", "pattern": "^[0-9]{4}$", "title": "Digits"},
            },
            "required": ["digits"],
        },
        "Item": {
            "type": "object",
            "title": "Item",
            "properties": {
                "name": {"type": "string", "title": "Name", "maxLength": 50},
                "count": {"type": "integer", "title": "Count", "default": 1},
            },
            "required": ["name"],
        },
        "Address": {
            "type": "object",
            "title": "Address",
            "properties": {"city": {"type": "string", "title": "City", "maxLength": 50}},
            "required": ["city"],
        },
    },
}

#: Run by `manage.py shell`.
MAKE_READER = f"""
from accounts.models import User
from chat.models import Conversation, LLMModel, Message, Task
reader = User.objects.create_user("{READER}", password="{PASSWORD}")
model = LLMModel.objects.get(is_default=True)
chats = [Conversation(owner=reader, title=f"Chat {{n:03}}") for n in range({CHATS})]
Conversation.objects.bulk_create(chats)
def answer(chat, text):
    task = Task(owner=reader, model=model, conversation=chat, messages=[], status="succeeded")
    asked = Message(conversation=chat, role="user", content=f"Question to {{text[:10]}}", task=task)
    return task, asked, Message(conversation=chat, role="assistant", content=text, task=task)
long, formatted = (
    Conversation.objects.create(owner=reader, title=title) for title in ("Long", "Formatted")
)
rows = [answer(long, f"Answer {{n:03}}.") for n in range({TURNS})]
rows.append(answer(formatted, {MARKDOWN!r}))
tasks, *messages = zip(*rows)
Task.objects.bulk_create(tasks)
Message.objects.bulk_create([message for pair in zip(*messages) for message in pair])
from django.contrib.auth.models import Permission
from chat.models import Scene
from chat.services.scenes import create_version, publish
editor = User.objects.create_user("{EDITOR}", password="{PASSWORD}", is_staff=True)
codenames = ["view_scene", "change_scene", "publish_scene"]
editor.user_permissions.set(Permission.objects.filter(codename__in=codenames))
order = Scene.objects.create(slug="order", title="Order", description="With all kinds of fields.")
fields = {{"user_template": "{{{{ zip }}}} [sim:tokens=5]", "variables_schema": {ORDER_SCHEMA!r}}}
publish(create_version(order, None, fields))
print(formatted.pk, long.pk)
"""
