"""A user with more of everything than a page of the REST interface has."""

from __future__ import annotations

READER, PASSWORD = "reader", "long-lists-7"
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
print(formatted.pk, long.pk)
"""
