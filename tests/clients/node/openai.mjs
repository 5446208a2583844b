// OpenAI's SDK for Node, as its documentation uses it. Each exported function is one case.
import assert from "node:assert/strict";
import OpenAI, { AuthenticationError, BadRequestError, NotFoundError } from "openai";
import { zodResponseFormat, zodTextFormat } from "openai/helpers/zod";
import { ResponsesWS } from "openai/resources/responses/ws";
import { z } from "zod";

const client = new OpenAI({ maxRetries: 0 });
const model = process.env.MODEL;
const narrow = "narrow";
const ask = (content) => [{ role: "user", content }];
const weather = {
  type: "object",
  properties: { city: { type: "string" } },
  required: ["city"],
  additionalProperties: false,
};
const City = z.object({ name: z.string(), districts: z.array(z.string()) });

export async function chat() {
  const { data, response, request_id } = await client.chat.completions
    .create({ model, messages: ask("Hello") }).withResponse();
  assert.equal(data.object, "chat.completion");
  assert.equal(data.choices[0].finish_reason, "stop");
  assert.match(data.choices[0].message.content, /Hello/);
  assert.ok(data.usage.total_tokens > 0);
  assert.ok(Math.abs(data.created - Date.now() / 1000) < 60);
  assert.equal(request_id, response.headers.get("x-request-id"));
  assert.ok(request_id);
}

export async function chatStream() {
  const stream = await client.chat.completions.create({
    model,
    messages: ask("Hello"),
    stream: true,
    stream_options: { include_usage: true },
  });
  const chunks = [];
  for await (const chunk of stream) chunks.push(chunk);
  const text = chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");
  assert.match(text, /Hello/);
  assert.deepEqual(chunks.at(-1).choices, []);
  assert.ok(chunks.at(-1).usage.total_tokens > 0);
  assert.equal(new Set(chunks.map((chunk) => chunk.id)).size, 1);
}

export async function chatStreamHelper() {
  const stream = client.chat.completions.stream({ model, messages: ask("Hello") });
  let text = "";
  stream.on("content", (delta) => text += delta);
  const completion = await stream.finalChatCompletion();
  assert.equal(completion.choices[0].message.content, text);
}

export async function chatTools() {
  let called = 0;
  const runner = client.chat.completions.runTools({
    model,
    messages: ask("How is the weather? [sim:tool,times=1]"),
    tools: [{
      type: "function",
      function: {
        name: "get_weather",
        parse: JSON.parse,
        function: () => {
          called += 1;
          return "sunny";
        },
        parameters: weather,
      },
    }],
  }, { maxChatCompletions: 2 });
  const calls = [];
  runner.on("functionToolCall", (call) => calls.push(call.name));
  await runner.done().catch(() => {}); // the simulator calls the tool again and again
  assert.equal(calls[0], "get_weather");
  assert.ok(called >= 1);
}

export async function chatToolsStream() {
  const stream = client.chat.completions.stream({
    model,
    messages: ask("How is the weather? [sim:tool]"),
    tools: [{ type: "function", function: { name: "get_weather", parameters: weather } }],
  });
  const completion = await stream.finalChatCompletion();
  assert.equal(completion.choices[0].finish_reason, "tool_calls");
  const [call] = completion.choices[0].message.tool_calls;
  assert.equal(call.function.name, "get_weather");
  JSON.parse(call.function.arguments);
}

export async function chatParse() {
  const completion = await client.chat.completions.parse({
    model,
    messages: ask("Name a city"),
    response_format: zodResponseFormat(City, "city"),
  });
  City.parse(completion.choices[0].message.parsed);
}

export async function chatAbort() {
  const stream = await client.chat.completions.create({
    model,
    messages: ask("Hello [sim:tokens=2000,tps=20]"),
    stream: true,
  });
  for await (const chunk of stream) {
    if (chunk.choices[0]?.delta.content) break; // closes the connection
  }
}

export async function errors() {
  const unknown = client.chat.completions.create({ model: "nobody", messages: ask("Hello") });
  await assert.rejects(unknown, (error) => {
    assert.ok(error instanceof NotFoundError);
    assert.equal(error.code, "model_not_found");
    assert.ok(error.requestID);
    return true;
  });
  const nobody = new OpenAI({ apiKey: "nobody", maxRetries: 0 });
  await assert.rejects(nobody.models.list(), (error) => {
    assert.ok(error instanceof AuthenticationError);
    assert.equal(error.code, "invalid_api_key");
    return true;
  });
  const bad = client.chat.completions.create({ model, messages: ask("Hello"), temperature: "x" });
  await assert.rejects(bad, (error) => {
    assert.ok(error instanceof BadRequestError);
    assert.equal(error.param, "temperature");
    return true;
  });
}

export async function models() {
  const ids = [];
  for await (const item of client.models.list()) ids.push(item.id);
  assert.ok(ids.includes(model));
  const scene = ids.find((id) => id.startsWith("scene:"));
  assert.equal((await client.models.retrieve(scene)).id, scene);
}

export async function embeddings() {
  const input = ["Hello", "World"];
  const made = await client.embeddings.create({ model: process.env.EMBEDDING_MODEL, input });
  assert.equal(made.data.length, 2);
  assert.equal(typeof made.data[0].embedding[0], "number");
  const plain = await client.embeddings.create({
    model: process.env.EMBEDDING_MODEL,
    input,
    encoding_format: "float",
  });
  made.data.forEach(({ embedding }, index) => {
    embedding.forEach((value, at) =>
      assert.ok(Math.abs(value - plain.data[index].embedding[at]) < 1e-6)
    );
  });
}

export async function responses() {
  const response = await client.responses.create({ model, input: "Hello" });
  assert.equal(response.status, "completed");
  assert.match(response.output_text, /Hello/);
  const next = await client.responses.create({
    model,
    input: "And again",
    previous_response_id: response.id,
  });
  assert.equal(next.previous_response_id, response.id);
  const read = await client.responses.retrieve(response.id);
  assert.equal(read.output_text, response.output_text);
  const items = await client.responses.inputItems.list(response.id);
  assert.equal(items.data.length, 1);
  await client.responses.delete(response.id);
  await assert.rejects(client.responses.retrieve(response.id), NotFoundError);
}

export async function responsesStream() {
  const stream = await client.responses.create({ model, input: "Hello", stream: true });
  const events = [];
  for await (const event of stream) events.push(event);
  assert.equal(events[0].type, "response.created");
  assert.equal(events.at(-1).type, "response.completed");
  events.forEach((event, index) => assert.equal(event.sequence_number, index));
}

export async function responsesParse() {
  const response = await client.responses.parse({
    model,
    input: "Name a city",
    text: { format: zodTextFormat(City, "city") },
  });
  City.parse(response.output_parsed);
}

export async function responsesTools() {
  const response = await client.responses.create({
    model,
    input: "How is the weather? [sim:tool]",
    tools: [{ type: "function", name: "get_weather", parameters: weather, strict: true }],
  });
  const call = response.output.find((item) => item.type === "function_call");
  assert.equal(call.name, "get_weather");
  const next = await client.responses.create({
    model,
    previous_response_id: response.id,
    input: [
      { type: "function_call_output", call_id: call.call_id, output: "sunny" },
      { role: "user", content: "Thanks" },
    ],
  });
  assert.equal(next.status, "completed");
}

export async function background() {
  const input = "Hello [sim:tokens=60,tps=60]";
  const stream = await client.responses.create({ model, input, background: true, stream: true });
  let id, last;
  let text = "";
  for await (const event of stream) {
    id = event.response?.id ?? id;
    last = event.sequence_number;
    if (event.type === "response.output_text.delta") {
      text += event.delta;
      break;
    }
  }
  const resumed = await client.responses.retrieve(id, { stream: true, starting_after: last });
  for await (const event of resumed) {
    assert.ok(event.sequence_number > last);
    last = event.sequence_number;
    if (event.type === "response.output_text.delta") text += event.delta;
  }
  assert.equal((await client.responses.retrieve(id)).output_text, text);
}

export async function cancelled() {
  const { id } = await client.responses.create({
    model,
    input: "Hello [sim:tokens=5000,tps=10]",
    background: true,
  });
  assert.equal((await client.responses.cancel(id)).status, "cancelled");
  assert.equal((await client.responses.retrieve(id)).status, "cancelled");
}

export async function webSocket() {
  const socket = new ResponsesWS(client);
  const done = new Promise((resolve, reject) => {
    const events = [];
    socket.on("event", (event) => {
      events.push(event);
      if (event.type === "response.completed") resolve(events);
    });
    socket.on("error", reject);
  });
  socket.send({ type: "response.create", model, input: "Hello" });
  const events = await done;
  assert.equal(events[0].type, "response.created");
  socket.close();
}

export async function manyAtOnce() {
  const asked = Array.from(
    { length: 20 },
    (_, number) =>
      client.chat.completions.create({ model: narrow, messages: ask(`Number ${number}`) }),
  );
  const answers = await Promise.all(asked);
  answers.forEach((answer, number) =>
    assert.match(answer.choices[0].message.content, new RegExp(`Number ${number}`))
  );
}
