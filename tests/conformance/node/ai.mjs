// The AI SDK over chat completions: `ai` with `@ai-sdk/openai-compatible`. node ai.mjs BASE_URL SCENARIO

import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { scenarios } from "./ai-scenarios.mjs";
import { baseURL } from "./conversation.mjs";

const model = createOpenAICompatible({ name: "qwend", baseURL, includeUsage: true, supportsStructuredOutputs: true });

await scenarios({ model, direct: { qwend: { enable_thinking: false } } });
