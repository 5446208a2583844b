"""A service whose articles get a summary: submits to aily, and receives the signed webhook.

Run it with `uvicorn app:app --port 8100`; README.md says which variables it reads.
"""

import os
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from typing import Annotated, Any

import httpx
from fastapi import Body, Depends, FastAPI, HTTPException, Request, Response
from standardwebhooks import Webhook, WebhookVerificationError

WEBHOOK = Webhook(os.environ["AILY_WEBHOOK_SECRET"])
DATABASE = os.environ.get("ARTICLES_DATABASE", "articles.sqlite3")
SUBMIT = "/api/llmchat/prompts/summarize/api"
#: aily answers a submit in milliseconds, and in some seconds while a server of its own is away.
AILY = httpx.Client(
    base_url=os.environ.get("AILY_URL", "http://127.0.0.1:8000"),
    headers={"Authorization": f"Bearer {os.environ['AILY_KEY']}"},
    timeout=15,
)
#: Webhooks are small: 20,000 bytes and some. A larger body does not come from aily.
BODY_MAX_BYTES = 100_000


@contextmanager
def transaction() -> Iterator[sqlite3.Connection]:
    """Open the database; commit at the end, or roll back where an exception is raised."""
    with closing(sqlite3.connect(DATABASE)) as connection, connection:
        yield connection


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    with transaction() as connection:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS article"
            " (id TEXT PRIMARY KEY, status TEXT NOT NULL, summary TEXT, error TEXT)"
        )
        connection.execute("CREATE TABLE IF NOT EXISTS delivery (id TEXT PRIMARY KEY)")
    yield


app = FastAPI(lifespan=lifespan)


# --- Submitting ---------------------------------------------------------------------------------
@app.put("/articles/{article_id}", status_code=202)
def put_article(article_id: str, text: Annotated[str, Body(embed=True)]) -> dict[str, str]:
    """Store the article and submit its summary. Sent again after an error, it is done once."""
    # Stored first: the webhook may arrive before the submit has been answered.
    with transaction() as connection:
        connection.execute(
            "INSERT OR IGNORE INTO article VALUES (?, 'new', NULL, NULL)", [article_id]
        )
    submit(article_id, text)
    with transaction() as connection:
        connection.execute(
            "UPDATE article SET status = 'queued' WHERE id = ? AND status = 'new'", [article_id]
        )
    return {"id": article_id}


def submit(article_id: str, text: str) -> None:
    """Raises HTTPException with what our own caller should do."""
    body = {"variables": {"text": text}, "metadata": {"article_id": article_id}}
    try:
        answer = AILY.post(SUBMIT, json=body, headers={"Idempotency-Key": f"article-{article_id}"})
    except httpx.TransportError as error:
        # Perhaps it was accepted. The same key makes it safe to submit again.
        raise HTTPException(503, "aily cannot be reached", {"Retry-After": "5"}) from error
    if answer.status_code == 202:
        return
    problem = answer.json()
    if answer.status_code in (429, 503):
        retry_after = answer.headers.get("Retry-After", "60")
        raise HTTPException(503, problem["detail"], {"Retry-After": retry_after})
    if problem["code"] == "idempotency_mismatch":
        raise HTTPException(409, "the article has another text already")
    if problem["code"] in ("invalid_variable", "too_large"):
        raise HTTPException(422, problem["detail"])
    raise HTTPException(502, problem["detail"])  # our own mistake: the key, the scene


@app.get("/articles/{article_id}")
def get_article(article_id: str) -> dict[str, str | None]:
    with transaction() as connection:
        row = connection.execute(
            "SELECT status, summary, error FROM article WHERE id = ?", [article_id]
        ).fetchone()
    if row is None:
        raise HTTPException(404)
    return dict(zip(("status", "summary", "error"), row, strict=True))


# --- Receiving ----------------------------------------------------------------------------------
async def verified_event(request: Request) -> dict[str, Any]:
    """Return the webhook's body. Refuses what aily has not signed, or not lately."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > BODY_MAX_BYTES:
            raise HTTPException(413)
    try:
        # The signature is over the bytes as they came: parsed and written anew they would differ.
        event: dict[str, Any] = WEBHOOK.verify(body, dict(request.headers))
    except WebhookVerificationError as error:
        raise HTTPException(401, "bad signature") from error
    return event


@app.post("/webhooks/aily", status_code=204)
def receive(
    request: Request, event: Annotated[dict[str, Any], Depends(verified_event)]
) -> Response:
    """Record how the task ended. Only a 2xx says that it arrived: else it comes again, for days."""
    article_id = event["data"].get("metadata", {}).get("article_id")
    if article_id is None:  # a test, or a task that this service did not submit
        return Response(status_code=204)
    status, summary, error = outcome(event["data"])
    with transaction() as connection:
        # In one transaction with what it changes: a delivery counts exactly when it took effect.
        delivery = connection.execute(
            "INSERT OR IGNORE INTO delivery VALUES (?)", [request.headers["webhook-id"]]
        )
        if delivery.rowcount:  # 0: it has been here before
            connection.execute(
                "UPDATE article SET status = ?, summary = ?, error = ? WHERE id = ?",
                [status, summary, error, article_id],
            )
    return Response(status_code=204)


def outcome(task: dict[str, Any]) -> tuple[str, str | None, str | None]:
    """Return the task's status, its text if it succeeded, and its error code."""
    if task["is_truncated"]:  # the webhook has the beginning of a long text, the task all of it
        # Where this raises, the webhook is answered with 500 and comes again.
        answer = AILY.get(f"/api/llmchat/tasks/{task['task_id']}")
        answer.raise_for_status()
        task = answer.json()
    # A task that failed may have a result as well: the part of the answer that there was.
    summary = task["result"]["text"] if task["status"] == "succeeded" else None
    return task["status"], summary, (task["error"] or {}).get("code")
