// aily from Node 22, by the client that its web app is made of; README.md says how to run it.

import { createWriteStream, openAsBlob } from 'node:fs';
import { basename } from 'node:path';
import { Writable } from 'node:stream';
// In a project of your own: copy aily-client.js and the directory client/ beside it.
import { AilyClient } from '../../../static/js/aily-client.js';

const { AILY_KEY: key, AILY_URL: url = 'http://127.0.0.1:8000' } = process.env;
const aily = new AilyClient({ url, key });

const commands = {
  // Submit and stream. A lost connection goes on where it broke off.
  async ask(text) {
    const task = await aily.submit({ scene: 'summarize', variables: { text } });
    console.error(`task ${task.id}`);
    await show(task);
  },

  // Resume: show all of a task that was submitted before, by whatever way.
  follow: (taskId) => show(aily.follow(taskId)),

  async cancel(taskId) {
    await aily.request('POST', `/llmchat/tasks/${taskId}/cancel`);
  },

  // A run over a CSV file whose column `text` goes to the scene; the results beside it.
  async run(file) {
    const scene = { scene: 'summarize', mapping: { text: 'text' } };
    const fields = { name: basename(file), ...scene, start: 'now' };
    const run = await aily.runs.create(await openAsBlob(file), fields);
    for await (const { state, reason, counts, cost, eta_seconds: eta } of run) {
      const done = counts.succeeded + counts.failed;
      console.error(`${state}: ${done} of ${counts.total}, ${cost} spent, ${eta ?? '?'} s left`);
      // It may be impossible to start, or have paused, as at a limit.
      if (!run.isEnded && reason) throw new Error(`${reason}: ${run.data.message}`);
    }
    const results = Writable.toWeb(createWriteStream(`${file}.results.csv`));
    await (await run.file('csv')).pipeTo(results);
    for (const { code, message, rows } of await run.errors()) {
      console.error(`${rows} rows: ${code}: ${message}`);
    }
    if (run.data.state !== 'done') throw new Error(run.data.message || run.data.state);
  },
};

async function show(task) {
  for await (const event of task) {
    if (event.type !== 'text') continue;
    // A new attempt answers anew.
    process.stdout.write(event.added ?? `\n${event.task.text}`);
  }
  await task.result();
  process.stdout.write('\n');
}

const [command, argument] = process.argv.slice(2);
try {
  if (!key || !argument || !Object.hasOwn(commands, command)) {
    throw new Error(`AILY_KEY=... node client.mjs ${Object.keys(commands).join('|')} ARGUMENT`);
  }
  await commands[command](argument);
} catch (error) {
  console.error([error.code, error.message].filter(Boolean).join(': '));
  process.exitCode = 1;
} finally {
  aily.close();
}
