// The `openai` package. node openai.mjs BASE_URL SCENARIO

import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";
import { baseURL, COLOR, HELLO, MODEL, RED, run, WEATHER } from "./conversation.mjs";

const completions = new OpenAI({ baseURL, apiKey: "none", maxRetries: 0 }).chat.completions;

async function whole(extra = {}) {
  const answer = await completions.create({ model: MODEL, messages: HELLO, ...extra });
  const [choice] = answer.choices;
  return {
    text: choice.message.content,
    reasoning: choice.message.reasoning ?? "",
    finish: choice.finish_reason,
    tokens: answer.usage.completion_tokens,
    reasoningTokens: answer.usage.completion_tokens_details.reasoning_tokens,
  };
}

async function stream() {
  const told = { text: "", reasoning: "", pieces: 0 };
  const chunks = await completions.create({
    model: MODEL,
    messages: HELLO,
    stream: true,
    stream_options: { include_usage: true },
  });
  for await (const chunk of chunks) {
    for (const { delta, finish_reason } of chunk.choices) {
      told.text += delta.content ?? "";
      told.reasoning += delta.reasoning ?? "";
      told.pieces += delta.content ? 1 : 0;
      told.finish = finish_reason ?? told.finish;
    }
    if (chunk.usage) {
      told.tokens = chunk.usage.completion_tokens;
      told.reasoningTokens = chunk.usage.completion_tokens_details.reasoning_tokens;
    }
  }
  return told;
}

/** The helper calls the tool, sends its result back and asks again, until there is an answer. */
async function tools(extra = {}) {
  const asked = [];
  const runner = completions.runTools({
    model: MODEL,
    messages: WEATHER,
    ...extra,
    tools: [
      {
        type: "function",
        function: {
          name: "get_weather",
          description: "Get the weather in a city",
          parameters: { type: "object", properties: { city: { type: "string" } }, required: ["city"] },
          parse: JSON.parse,
          function: (given) => {
            asked.push(given);
            return "17 degrees";
          },
        },
      },
    ],
  });
  return { text: await runner.finalContent(), asked };
}

async function image() {
  const content = [
    { type: "text", text: COLOR },
    { type: "image_url", image_url: { url: RED } },
  ];
  const answer = await completions.create({ model: MODEL, messages: [{ role: "user", content }] });
  return { text: answer.choices[0].message.content };
}

async function object() {
  const answer = await completions.parse({
    model: MODEL,
    messages: HELLO,
    response_format: zodResponseFormat(z.object({ polite: z.boolean() }), "manners"),
  });
  return answer.choices[0].message.parsed;
}

/** The request fails; what the client makes of the envelope. */
async function failure(request) {
  try {
    await completions.create(request);
  } catch (error) {
    return { status: error.status, code: error.code, param: error.param, type: error.type, kind: error.constructor.name };
  }
  throw new Error("the request was answered");
}

await run({
  whole,
  direct: () => whole({ enable_thinking: false }),
  stream,
  tools,
  "streamed-tools": () => tools({ stream: true }),
  image,
  object,
  "unknown-model": () => failure({ model: "gpt-x", messages: HELLO }),
  "bad-request": () => failure({ model: MODEL, messages: [] }),
});
