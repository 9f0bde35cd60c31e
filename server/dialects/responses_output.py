"""What a response is made of: its output items, and the response object around them."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any, Literal

import orjson
from pydantic import BaseModel

from server.dialects.answer_parts import shortened
from server.dialects.chat_response import logprob_json, new_call_id
from server.dialects.responses_items import ItemIn, stored_items
from server.dialects.responses_request import ResponsesRequest
from server.dialects.responses_thinking import sealed
from server.dialects.responses_tools import FunctionToolIn, NamespaceToolIn, functions
from server.generation.errors import RequestFailed
from server.generation.events import Batch, ReasoningDelta, TextDelta, ToolCallArguments, ToolCallStart
from server.generation.generation import Usage
from server.generation.ports import TokenLogprob

Status = Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
Kind = Literal["reasoning", "message", "function_call"]

_PREFIXES: dict[Kind, str] = {"reasoning": "rs", "message": "msg", "function_call": "fc"}
_THINK_END = "</think>"


def new_response_id() -> str:
    """An id that no other response has."""
    return f"resp_{uuid.uuid4().hex}"


def response_of_item(item_id: str) -> str | None:
    """The id of the response that made the item, or that had it in its input, which an item's id says."""
    prefix, _, rest = item_id.partition("_")
    return f"resp_{rest[:32]}" if prefix in ("rs", "msg", "fc", "fco") and len(rest) > 32 else None


def item_ids(response_id: str, what: str) -> Callable[[str], str]:
    """Makes ids of items of a response, one after the other; `what` tells its input from its output."""
    made = 0

    def new_id(prefix: str) -> str:
        nonlocal made
        made += 1
        return f"{prefix}_{response_id.removeprefix('resp_')}{what}{made - 1:04x}"

    return new_id


class OutputItem:
    """An item of the answer while it is made: its text, or a call's arguments, in pieces."""

    __slots__ = ("call_id", "id", "kind", "logprobs", "name", "pieces")

    def __init__(self, kind: Kind, id: str, name: str = "") -> None:
        self.kind = kind
        self.id = id
        self.name = name
        self.call_id = new_call_id() if kind == "function_call" else ""
        self.pieces: list[str] = []
        self.logprobs: list[dict[str, Any]] = []

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(self.pieces)


class Response:
    """One response: what the request said of it, and what has been made so far.

    `shows_thinking` False leaves its thinking out, as a whole; `seals_thinking` gives it once more for clients that
    keep the history themselves.
    """

    def __init__(self, request: ResponsesRequest, id: str, *, stored: bool, tier: str | None) -> None:
        self.id = id
        self.created = int(time.time())
        self.shows_thinking = request.include_reasoning is not False
        self.summarizes = request.summarized
        self.seals_thinking = request.included("reasoning.encrypted_content")
        self.tells_logprobs = request.top_logprobs is not None or request.included("message.output_text.logprobs")
        self.items: list[OutputItem] = []
        self.status: Status = "in_progress"
        self.usage: Usage | None = None
        self._new_id = item_ids(id, "")
        self._error: RequestFailed | None = None
        self._completed: int | None = None
        self._functions = functions(request.tools)
        self._said = _said(request, stored=stored, tier=tier)

    def begin(self, kind: Kind, name: str = "") -> OutputItem:
        """A new item, after the others."""
        item = OutputItem(kind, self._new_id(_PREFIXES[kind]), name)
        self.items.append(item)
        return item

    def finish(self, finish_reason: str | None, usage: Usage) -> None:
        """All has been made; `finish_reason` is the core's."""
        self.status = "incomplete" if finish_reason == "length" else "completed"
        self._completed = int(time.time())
        self.usage = usage

    def end_early(self, error: RequestFailed | None, usage: Usage | None = None) -> None:
        """It failed with `error`, or without one was cancelled."""
        self.status = "cancelled" if error is None else "failed"
        self._error = error
        self.usage = usage

    def json(self) -> dict[str, Any]:
        """OpenAI's response object as it is now."""
        last = len(self.items) - 1
        return {
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "status": self.status,
            "error": None if self._error is None else _error_json(self._error),
            "incomplete_details": {"reason": "max_output_tokens"} if self.status == "incomplete" else None,
            "output": [
                self.item_json(item, self._item_status(last=index == last)) for index, item in enumerate(self.items)
            ],
            "completed_at": self._completed if self.status == "completed" else None,
            "usage": None if self.usage is None else usage_json(self.usage),
            **self._said,
        }

    def last_status(self) -> str:
        """How complete the item is that was made last."""
        return self._item_status(last=True)

    def item_json(self, item: OutputItem, status: str) -> dict[str, Any]:
        """The item whole."""
        if item.kind == "function_call":
            namespace, name = self.function(item)
            call = {"call_id": item.call_id, "name": name, "arguments": item.text}
            told: dict[str, Any] = {"id": item.id, "type": "function_call", **call, "status": status}
            return told if namespace is None else {**told, "namespace": namespace}
        if item.kind == "message":
            part = self.part_json(item)
            return {"id": item.id, "type": "message", "role": "assistant", "status": status, "content": [part]}
        told = {"id": item.id, "type": "reasoning", "summary": [], "status": status}
        told["summary" if self.summarizes else "content"] = [self.part_json(item)]
        return {**told, "encrypted_content": sealed(item.text)} if self.seals_thinking else told

    def function(self, item: OutputItem) -> tuple[str | None, str]:
        """The namespace and the name of the function that a call is of. One that nobody knows is told as it is."""
        namespace, function = self._functions.get(item.name, (None, None))
        return namespace, item.name if function is None else function.name

    def part_json(self, item: OutputItem, text: str | None = None) -> dict[str, Any]:
        """The part of a message or of reasoning that holds its text; `text` in its place is given when it begins."""
        told = item.text if text is None else text
        if item.kind == "message":
            logprobs = item.logprobs if text is None else []
            return {"type": "output_text", "text": told, "annotations": [], "logprobs": logprobs}
        return {"type": "summary_text" if self.summarizes else "reasoning_text", "text": told}

    def _item_status(self, *, last: bool) -> str:
        return "completed" if self.status == "completed" or not last else "incomplete"


class WholeResponse:
    """Collects batches into one response. Items stand in the order in which they came, as in a stream."""

    def __init__(self, response: Response) -> None:
        self._response = response
        self._logprobs = TextLogprobs(response)

    def add(self, batch: Batch) -> None:
        """Takes in the next batch."""
        self._logprobs.take(batch)
        for event in batch.events:
            if isinstance(event, TextDelta):
                item = self._item("message")
                item.pieces.append(event.text)
                item.logprobs += self._logprobs.give()
            elif isinstance(event, ReasoningDelta):
                if self._response.shows_thinking:
                    self._item("reasoning").pieces.append(event.text)
            elif isinstance(event, ToolCallStart):
                self._response.begin("function_call", event.name)
            elif isinstance(event, ToolCallArguments):
                self._response.items[-1].pieces.append(event.fragment)

    def encode(self, finish_reasons: Sequence[str | None], usage: Usage) -> bytes:
        """The body."""
        (finish_reason,) = finish_reasons
        self._response.finish(finish_reason, usage)
        return orjson.dumps(self._response.json())

    def _item(self, kind: Kind) -> OutputItem:
        items = self._response.items
        return items[-1] if items and items[-1].kind == kind else self._response.begin(kind)


class TextLogprobs:
    """Which log probabilities belong to the text: those of the tokens after the thinking's end.

    Tokens come with batches and text with events, so that those of a batch go with the first text of it, or with the
    next that comes.
    """

    def __init__(self, response: Response) -> None:
        self._tells = response.tells_logprobs
        self._held: list[TokenLogprob] = []

    def take(self, batch: Batch) -> None:
        """Takes those of a batch, and forgets those of thinking and calls."""
        if not self._tells or not batch.logprobs:
            return
        # The token that ends an answer is none of its text.
        told = list(batch.logprobs[:-1] if batch.finish_reason in ("stop", "tool_calls") else batch.logprobs)
        tokens = [each.token for each in told]
        if _THINK_END in tokens:
            self._held = told[tokens.index(_THINK_END) + 1 :]
        elif any(not isinstance(event, TextDelta) for event in batch.events):
            self._held = []
        else:
            self._held += told

    def give(self) -> list[dict[str, Any]]:
        """Those that go with the text that comes now, each once."""
        held, self._held = self._held, []
        return [logprob_json(told) for told in held]


def usage_json(usage: Usage) -> dict[str, Any]:
    """The usage object of Responses. Writing to the cache is not counted, since it costs nothing here."""
    return {
        "input_tokens": usage.prompt,
        "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": 0},
        "output_tokens": usage.completion,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.prompt + usage.completion,
    }


def input_json(items: Sequence[ItemIn], response_id: str) -> list[dict[str, Any]]:
    """The response's own input items as they are kept; those that have no id get one."""
    return stored_items(items, item_ids(response_id, "i"))


def _error_json(error: RequestFailed) -> dict[str, Any]:
    code = "rate_limit_exceeded" if error.status == 429 else "server_error" if error.status >= 500 else "invalid_prompt"
    return {"code": code, "message": shortened(error.message)}


def _said(request: ResponsesRequest, *, stored: bool, tier: str | None) -> dict[str, Any]:
    """What the response tells of its request."""
    reasoning, text, choice = request.reasoning, request.text, request.tool_choice
    form = text.format if text else None
    return {
        "model": request.model,
        "instructions": request.instructions,
        "previous_response_id": request.previous_response_id,
        "background": bool(request.background),
        "store": stored,
        "metadata": request.metadata or {},
        "max_output_tokens": request.max_output_tokens,
        "max_tool_calls": request.max_tool_calls,
        "parallel_tool_calls": request.parallel_tool_calls is not False,
        "prompt_cache_key": request.prompt_cache_key,
        "reasoning": {
            "effort": reasoning.effort if reasoning else None,
            "summary": (reasoning.summary or reasoning.generate_summary) if reasoning else None,
        },
        "safety_identifier": request.safety_identifier,
        "service_tier": tier,
        "temperature": request.temperature,
        "text": {
            "format": {"type": "text"} if form is None else form.model_dump(by_alias=True, exclude_none=True),
            "verbosity": (text.verbosity if text else None) or "medium",
        },
        "tool_choice": choice.model_dump() if isinstance(choice, BaseModel) else choice or "auto",
        "tools": [_tool(tool) for tool in request.tools or () if isinstance(tool, FunctionToolIn | NamespaceToolIn)],
        "top_logprobs": request.top_logprobs or 0,
        "top_p": request.top_p,
        "truncation": request.truncation or "disabled",
        "user": request.user,
    }


def _tool(tool: FunctionToolIn | NamespaceToolIn) -> dict[str, Any]:
    if isinstance(tool, NamespaceToolIn):
        told = {"type": "namespace", "name": tool.name, "description": tool.description or ""}
        return {**told, "tools": [_tool(each) for each in tool.tools]}
    return {
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
        "strict": bool(tool.strict),
    }
