// What is asked of the AI SDK (`ai`), over whatever provider.

import { APICallError, generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import { COLOR, HELLO, MODEL, RED, run, WEATHER } from "./conversation.mjs";

const maxRetries = 0;

/** Runs the scenario that is asked for. `model` makes a model of a name; `always` and `direct` are provider options. */
export async function scenarios({ model: named, always, direct }) {
  const model = named(MODEL);
  const providerOptions = always;

  async function whole(extra = {}) {
    const answer = await generateText({ model, maxRetries, providerOptions, messages: HELLO, ...extra });
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
    const answer = streamText({ model, maxRetries, providerOptions, messages: HELLO });
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
      providerOptions,
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
    const answer = await generateText({ model, maxRetries, providerOptions, messages: [{ role: "user", content }] });
    return { text: answer.text };
  }

  async function object() {
    const output = Output.object({ schema: z.object({ polite: z.boolean() }) });
    return (await generateText({ model, maxRetries, providerOptions, messages: HELLO, output })).output;
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
    direct: () => whole({ providerOptions: direct }),
    stream,
    tools: () => tools(generateText),
    "streamed-tools": () => tools(streamText),
    image,
    object,
    "unknown-model": () => failure({ model: named("gpt-x") }),
    "bad-request": () => failure({ model, temperature: 9 }),
  });
}
