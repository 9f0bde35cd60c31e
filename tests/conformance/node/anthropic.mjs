// The `@anthropic-ai/sdk` package. node anthropic.mjs BASE_URL SCENARIO

import Anthropic from "@anthropic-ai/sdk";
import { betaZodTool } from "@anthropic-ai/sdk/helpers/beta/zod";
import { zodOutputFormat } from "@anthropic-ai/sdk/helpers/zod";
import { z } from "zod";
import { baseURL, COLOR, HELLO, MODEL, RED, run, WEATHER } from "./conversation.mjs";

// This package adds /v1 itself.
const client = new Anthropic({ baseURL: baseURL.replace(/\/v1$/, ""), apiKey: "none", maxRetries: 0 });
const asked = { model: MODEL, max_tokens: 400, messages: HELLO };

function said(message, kind) {
  return message.content.map((block) => (block.type === kind ? block[kind] : "")).join("");
}

function told(message) {
  return {
    text: said(message, "text"),
    reasoning: said(message, "thinking"),
    finish: message.stop_reason === "end_turn" ? "stop" : message.stop_reason,
    tokens: message.usage.output_tokens,
    reasoningTokens: message.usage.output_tokens_details.thinking_tokens,
  };
}

async function whole(extra = {}) {
  return told(await client.messages.create({ ...asked, ...extra }));
}

async function stream() {
  let pieces = 0;
  const events = client.messages.stream(asked).on("text", () => (pieces += 1));
  return { ...told(await events.finalMessage()), pieces };
}

/** The helper calls the tool, sends its result back and asks again, until there is an answer. */
async function tools(extra = {}) {
  const calls = [];
  const weather = betaZodTool({
    name: "get_weather",
    description: "Get the weather in a city",
    inputSchema: z.object({ city: z.string() }),
    run: (given) => {
      calls.push(given);
      return "17 degrees";
    },
  });
  const runner = client.beta.messages.toolRunner({ ...asked, messages: WEATHER, tools: [weather], ...extra });
  return { text: said(await runner.runUntilDone(), "text"), asked: calls };
}

async function image() {
  const data = RED.replace("data:image/png;base64,", "");
  const content = [
    { type: "text", text: COLOR },
    { type: "image", source: { type: "base64", media_type: "image/png", data } },
  ];
  return { text: said(await client.messages.create({ ...asked, messages: [{ role: "user", content }] }), "text") };
}

async function object() {
  const format = zodOutputFormat(z.object({ polite: z.boolean() }));
  return (await client.messages.parse({ ...asked, output_config: { format } })).parsed_output;
}

/** What is counted before, and what the answer says. */
async function count() {
  const { max_tokens, ...prompt } = { ...asked, system: "You are a helper.", thinking: { type: "disabled" } };
  const counted = await client.messages.countTokens(prompt);
  const { usage } = await client.messages.create({ ...prompt, max_tokens });
  return {
    counted: counted.input_tokens,
    used: usage.input_tokens + usage.cache_read_input_tokens + usage.cache_creation_input_tokens,
  };
}

/** The request fails; what the client makes of the envelope. */
async function failure(request) {
  try {
    await client.messages.create({ ...asked, ...request });
  } catch (error) {
    const { type, details } = error.error.error;
    return { status: error.status, code: details.error_code, param: details.param, type, kind: error.constructor.name };
  }
  throw new Error("the request was answered");
}

await run({
  whole,
  direct: () => whole({ thinking: { type: "disabled" } }),
  stream,
  tools,
  "streamed-tools": () => tools({ stream: true }),
  image,
  object,
  count,
  "unknown-model": () => failure({ model: "gpt-x" }),
  "bad-request": () => failure({ messages: [] }),
});
