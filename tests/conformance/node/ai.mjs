// The AI SDK: `ai` with `@ai-sdk/openai-compatible`. node ai.mjs BASE_URL SCENARIO

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { APICallError, generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import { baseURL, COLOR, HELLO, MODEL, RED, run, WEATHER } from "./conversation.mjs";

const provider = createOpenAICompatible({
  name: "qwend",
  baseURL,
  includeUsage: true,
  supportsStructuredOutputs: true,
});
const model = provider(MODEL);
const maxRetries = 0;

async function whole(extra = {}) {
  const answer = await generateText({ model, maxRetries, messages: HELLO, ...extra });
  return {
    text: answer.text,
    reasoning: answer.reasoningText ?? "",
    finish: answer.finishReason,
    tokens: answer.usage.outputTokens,
    reasoningTokens: answer.usage.outputTokenDetails.reasoningTokens,
  };
}

async function stream() {
  const told = { text: "", reasoning: "", pieces: 0 };
  const answer = streamText({ model, maxRetries, messages: HELLO });
  for await (const part of answer.fullStream) {
    if (part.type === "text-delta") {
      told.text += part.text;
      told.pieces += 1;
    } else if (part.type === "reasoning-delta") {
      told.reasoning += part.text;
    } else if (part.type === "error") {
      throw part.error;
    }
  }
  const usage = await answer.usage;
  return {
    ...told,
    finish: await answer.finishReason,
    tokens: usage.outputTokens,
    reasoningTokens: usage.outputTokenDetails.reasoningTokens,
  };
}

/** The SDK calls the tool, sends its result and the model's reasoning back and asks again. */
async function tools(ask) {
  const asked = [];
  const answer = await ask({
    model,
    maxRetries,
    messages: WEATHER,
    stopWhen: stepCountIs(3),
    tools: {
      get_weather: tool({
        description: "Get the weather in a city",
        inputSchema: z.object({ city: z.string() }),
        execute: (given) => {
          asked.push(given);
          return "17 degrees";
        },
      }),
    },
  });
  return { text: await answer.text, asked };
}

async function image() {
  const content = [
    { type: "text", text: COLOR },
    { type: "image", image: RED },
  ];
  const answer = await generateText({ model, maxRetries, messages: [{ role: "user", content }] });
  return { text: answer.text };
}

async function object() {
  const output = Output.object({ schema: z.object({ polite: z.boolean() }) });
  return (await generateText({ model, maxRetries, messages: HELLO, output })).output;
}

/** The request fails; what the client makes of the envelope. */
async function failure(request) {
  try {
    await generateText({ maxRetries, messages: HELLO, ...request });
  } catch (error) {
    if (!APICallError.isInstance(error)) throw error;
    const { code, param, type } = error.data.error;
    return { status: error.statusCode, code, param, type, kind: error.name };
  }
  throw new Error("the request was answered");
}

await run({
  whole,
  direct: () => whole({ providerOptions: { qwend: { enable_thinking: false } } }),
  stream,
  tools: () => tools(generateText),
  "streamed-tools": () => tools(streamText),
  image,
  object,
  "unknown-model": () => failure({ model: provider("gpt-x") }),
  "bad-request": () => failure({ model, temperature: 9 }),
});
