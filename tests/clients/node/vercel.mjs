// Vercel's AI SDK with both of its providers that speak OpenAI's API. Each function is one case.
import assert from "node:assert/strict";
import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { embedMany, generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const baseURL = process.env.OPENAI_BASE_URL;
const apiKey = process.env.OPENAI_API_KEY;
const name = process.env.MODEL;
const openai = createOpenAI({ baseURL, apiKey });
const compatible = createOpenAICompatible({
  name: "aily",
  baseURL,
  apiKey,
  includeUsage: true,
  supportsStructuredOutputs: true,
});
const City = z.object({ name: z.string(), districts: z.array(z.string()) });
const tools = {
  get_weather: tool({
    description: "The weather of a city",
    inputSchema: z.object({ city: z.string() }),
    execute: async () => "sunny",
  }),
};
const settings = { maxRetries: 0 };

async function plain(model) {
  const { text, finishReason, usage } = await generateText({ ...settings, model, prompt: "Hello" });
  assert.match(text, /Hello/);
  assert.equal(finishReason, "stop");
  assert.ok(usage.totalTokens > 0);
}

async function stream(model) {
  let failure;
  const result = streamText({
    ...settings,
    model,
    prompt: "Hello",
    onError: ({ error }) => failure = error,
  });
  let text = "";
  for await (const piece of result.textStream) text += piece;
  assert.ifError(failure);
  assert.match(text, /Hello/);
  assert.equal(await result.finishReason, "stop");
  assert.ok((await result.usage).totalTokens > 0);
}

async function structured(model) {
  const { output } = await generateText({
    ...settings,
    model,
    prompt: "Name a city",
    output: Output.object({ schema: City }),
  });
  City.parse(output);
}

async function callsTools(model) {
  // The call, and one step more with the tool's result: the simulator calls it each time.
  const { steps } = await generateText({
    ...settings,
    model,
    tools,
    prompt: "How is the weather? [sim:tool]",
    stopWhen: stepCountIs(2),
  });
  assert.equal(steps.length, 2);
  for (const step of steps) assert.equal(step.toolCalls[0].toolName, "get_weather");
}

export const responsesPlain = () => plain(openai(name));
export const responsesStream = () => stream(openai(name));
export const responsesStructured = () => structured(openai(name));
export const responsesTools = () => callsTools(openai(name));
export const chatPlain = () => plain(openai.chat(name));
export const chatStream = () => stream(openai.chat(name));
export const chatStructured = () => structured(openai.chat(name));
export const chatTools = () => callsTools(openai.chat(name));
export const compatiblePlain = () => plain(compatible(name));
export const compatibleStream = () => stream(compatible(name));
export const compatibleStructured = () => structured(compatible(name));
export const compatibleTools = () => callsTools(compatible(name));

export async function embeddings() {
  const { embeddings } = await embedMany({
    ...settings,
    model: openai.embedding(process.env.EMBEDDING_MODEL),
    values: ["Hello", "World"],
  });
  assert.equal(embeddings.length, 2);
}

export async function error() {
  await assert.rejects(generateText({ ...settings, model: openai("nobody"), prompt: "Hello" }), {
    name: "AI_APICallError",
    statusCode: 404,
  });
}
