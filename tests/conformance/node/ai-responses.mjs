// The AI SDK over Responses: `ai` with `@ai-sdk/openai`. node ai-responses.mjs BASE_URL SCENARIO

import { createOpenAI } from "@ai-sdk/openai";
import { scenarios } from "./ai-scenarios.mjs";
import { baseURL } from "./conversation.mjs";

const { responses: model } = createOpenAI({ baseURL, apiKey: "none" });
// It takes only models that it knows for ones that think.
const thinking = (options) => ({ openai: { forceReasoning: true, ...options } });

await scenarios({
  model,
  always: thinking({ reasoningSummary: "auto" }),
  direct: thinking({ reasoningEffort: "none" }),
});
