// The Responses of the `openai` package. node openai-responses.mjs BASE_URL SCENARIO

import OpenAI from "openai";
import { zodTextFormat } from "openai/helpers/zod";
import { z } from "zod";
import { baseURL, COLOR, HELLO, MODEL, RED, run, WEATHER } from "./conversation.mjs";

const client = new OpenAI({ baseURL, apiKey: "none", maxRetries: 0 });
const { responses } = client;
const asked = { model: MODEL, input: HELLO };

/** What the model says; the package itself adds it up only where nothing is streamed. */
function said(response) {
  const parts = response.output.flatMap((item) => (item.type === "message" ? item.content : []));
  return parts.map((part) => part.text).join("");
}

function told(response) {
  const { output_tokens: tokens, output_tokens_details: details } = response.usage;
  const thoughts = response.output.flatMap((item) => (item.type === "reasoning" ? item.content : []));
  return {
    text: said(response),
    reasoning: thoughts.map((part) => part.text).join(""),
    finish: response.status === "completed" ? "stop" : response.status,
    tokens,
    reasoningTokens: details.reasoning_tokens,
  };
}

async function whole(extra = {}) {
  return told(await responses.create({ ...asked, ...extra }));
}

async function stream() {
  let pieces = 0;
  const events = responses.stream(asked).on("response.output_text.delta", () => (pieces += 1));
  return { ...told(await events.finalResponse()), pieces };
}

/** The tool is called, its result sent back to what is stored, until there is an answer. */
async function tools(ask) {
  const calls = [];
  const tool = {
    type: "function",
    name: "get_weather",
    description: "Get the weather in a city",
    parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
    strict: false,
  };
  let answer = await ask({ model: MODEL, input: WEATHER, tools: [tool] });
  for (let turn = 0; turn < 3; turn += 1) {
    const made = answer.output.filter((item) => item.type === "function_call");
    if (made.length === 0) break;
    calls.push(...made.map((call) => JSON.parse(call.arguments)));
    const input = made.map(({ call_id }) => ({ type: "function_call_output", call_id, output: "17 degrees" }));
    answer = await ask({ model: MODEL, input, tools: [tool], previous_response_id: answer.id });
  }
  return { text: said(answer), asked: calls };
}

async function image() {
  const content = [
    { type: "input_text", text: COLOR },
    { type: "input_image", image_url: RED, detail: "auto" },
  ];
  return { text: (await responses.create({ model: MODEL, input: [{ role: "user", content }] })).output_text };
}

async function object() {
  const format = zodTextFormat(z.object({ polite: z.boolean() }), "manners");
  return (await responses.parse({ ...asked, text: { format } })).output_parsed;
}

/** In the background, polled until it is done, read item by item, and deleted. */
async function stored() {
  let answer = await responses.create({ ...asked, background: true });
  const first = answer.status;
  for (let poll = 0; poll < 300 && ["queued", "in_progress"].includes(answer.status); poll += 1) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    answer = await responses.retrieve(answer.id);
  }
  const items = [];
  for await (const item of responses.inputItems.list(answer.id)) items.push(item.type);
  await responses.delete(answer.id);
  const gone = await responses.retrieve(answer.id).catch((error) => error.status);
  return { first, text: answer.output_text, status: answer.status, items, gone };
}

async function count() {
  const { input_tokens: counted } = await responses.inputTokens.count({ model: MODEL, input: HELLO });
  return { counted, used: (await responses.create(asked)).usage.input_tokens };
}

/** The request fails; what the client makes of the envelope. */
async function failure(request) {
  try {
    await responses.create(request);
  } catch (error) {
    return { status: error.status, code: error.code, param: error.param, type: error.type, kind: error.constructor.name };
  }
  throw new Error("the request was answered");
}

await run({
  whole,
  direct: () => whole({ reasoning: { effort: "none" } }),
  stream,
  tools: () => tools((request) => responses.create(request)),
  "streamed-tools": () => tools((request) => responses.stream(request).finalResponse()),
  image,
  object,
  stored,
  count,
  "unknown-model": () => failure({ ...asked, model: "gpt-x" }),
  "bad-request": () => failure({ ...asked, temperature: 9 }),
});
