// What both clients are asked to say and show, and how a scenario is run and told.

export const MODEL = "qwen3.5-reference";
export const HELLO = [{ role: "user", content: "My name is Rosa. Say hello." }];
export const WEATHER = [{ role: "user", content: "What is the weather in Lisbon?" }];
export const COLOR = "What color is this image?";

// A red square of 32 by 32.
export const RED =
  "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAACAAAAAgCAIAAAD8GO2jAAAAKklEQVR42u3NMQEAAAQAMATRP5QwSvBt" +
  "BZbTHZ8qngkEAoFAIBAIBIIrC9KAAVhVsgYjAAAAAElFTkSuQmCC";

/** Runs the scenario that the command line names and prints what came of it as JSON; the test judges it. */
export async function run(scenarios) {
  const told = await scenarios[process.argv[3]]();
  console.log(JSON.stringify(told));
}

/** The daemon's API, as the command line gives it. */
export const baseURL = process.argv[2];
