// A program with a client made of the OpenAPI document: its types are checked, and it is run.
import createClient from "npm:openapi-fetch@0.17.0";
import type { components, paths } from "./api.d.ts";

const [baseUrl, key] = Deno.args;
const client = createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${key}` } });

const submitted = await client.POST("/api/llmchat/prompts/{scene}/api", {
  params: { path: { scene: "summarize" }, query: { sync: true } },
  body: { variables: { text: "A queue." }, temperature: 0.5, metadata: { client: "typescript" } },
});
if (submitted.data === undefined || !("result" in submitted.data)) {
  throw new Error(JSON.stringify(submitted.error));
}
const task: components["schemas"]["TaskOut"] = submitted.data;
const tokens: number | undefined = task.usage?.total_tokens;

const listed = await client.GET("/api/llmchat/tasks", {
  params: { query: { metadata: ["client:typescript"], limit: 1 } },
});
const refused = await client.GET("/api/llmchat/tasks/{task_id}", {
  params: { path: { task_id: "01900000-0000-7000-8000-000000000000" } },
});
const code: string | undefined = refused.error?.code;

console.log(JSON.stringify({
  status: task.status,
  tokens,
  listed: listed.data?.items.map((item) => item.task_id),
  task_id: task.task_id,
  code,
}));
