"""From a conversation to what vLLM's engine takes: its chat template, its tokenizer, its multimodal preprocessing."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from server.engine.failures import translate
from server.engine.media_connector import ready
from server.generation.errors import ContextTooLong, InvalidRequest
from server.generation.ports import DecodedImage, DecodedVideo

# What takes about a millisecond with the real vocabulary: two ways to a thread and back cost a short chat as much.
_ON_LOOP_CHARACTERS = 2048
_ON_LOOP_MESSAGES = 16
# Spaces, capitals, digits, scripts, a symbol of two characters in UTF-16, and what begins and ends a turn.
_SAMPLE = "<|im_start|>user\n  Grüße, 12.50 \u4f60\u597d \U0001f600\t<think>\n\n</think>x<|im_end|>\n"


class ChatRenderer:
    """vLLM's renderer: in its threads, but for short texts, which are rendered at once.

    Making it copies the tokenizer, which takes a second with the real vocabulary.
    """

    def __init__(self, llm: Any) -> None:
        from vllm.tokenizers import cached_tokenizer_from_config

        self._threaded = llm.renderer
        self._max_model_len = int(llm.model_config.max_model_len)
        # With a tokenizer of its own: vLLM keeps one for each of its threads, and whoever finds none copies one first.
        self._at_once = copy.copy(llm.renderer)
        self._at_once.tokenizer = copy.deepcopy(cached_tokenizer_from_config(llm.model_config))
        self._encode = None if llm.model_config.is_encoder_decoder else encoder_of(self._at_once.tokenizer)
        self._most_characters = self._max_model_len * int(self._at_once.tokenizer.max_chars_per_token)

    async def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]],
        template_arguments: Mapping[str, Any],
        cache_salt: str | None,
    ) -> Any:
        """vLLM's engine input; arguments as in `server.generation.ports.Engine.render`. Raises RequestFailed."""
        from vllm.renderers.params import ChatParams, TokenizeParams

        # Text first: vLLM refuses what is longer than the context can hold in characters before it tokenises it.
        arguments = {"add_generation_prompt": True, "tokenize": False, **template_arguments}
        if tools:
            arguments["tools"] = list(tools)
        wanted: dict[str, Any] = {
            "chat_params": ChatParams(chat_template_kwargs=arguments),
            # The template writes every special token itself.
            "tok_params": TokenizeParams(max_total_tokens=self._max_model_len, add_special_tokens=False),
            "prompt_extras": None if cache_salt is None else {"cache_salt": cache_salt},
            # vLLM's other cache holds what it takes the engine to have been sent. A prompt that is only looked at,
            # refused or left before it is sent would make every later request with its image fail.
            "skip_mm_cache": True,
        }
        self._check_characters(messages)
        try:
            if not tools and _is_short(messages, template_arguments):
                if self._encode is not None:
                    return self._rendered_at_once(self._encode, messages, wanted["chat_params"], cache_salt)
                _, (engine_input,) = self._at_once.render_chat([list(messages)], **wanted)
                return engine_input
            with ready(_videos(messages)) as addresses:
                left = iter(addresses)
                conversation = [with_media(message, left, cache_salt) for message in messages]
                _, (engine_input,) = await self._threaded.render_chat_async([conversation], **wanted)
                return engine_input
        except Exception as error:
            failure = translate(error)
            if isinstance(failure, InvalidRequest):
                failure.param = failure.param or "messages"
            raise failure from error

    def _rendered_at_once(
        self,
        encode: Callable[[str], list[int]],
        messages: Sequence[Mapping[str, Any]],
        params: Any,
        cache_salt: str | None,
    ) -> Any:
        """What vLLM's `render_chat` makes of a conversation of text, without the layers around its tokenizer."""
        from vllm.inputs import tokens_input

        _, prompt = self._at_once.render_messages(list(messages), params)
        engine_input = tokens_input(encode(prompt["prompt"]), prompt=prompt["prompt"], cache_salt=cache_salt)
        engine_input["arrival_time"] = time.time()
        return engine_input

    def _check_characters(self, messages: Sequence[Mapping[str, Any]]) -> None:
        """Raises ContextTooLong for text that no context of that many tokens holds.

        vLLM looks too, but at the rendered text: the template copies 20 MB several times first, and each copy holds up
        every stream. What the assistant said is left to vLLM, since the template drops earlier thinking.
        """
        characters = sum(_characters(each["content"]) for each in messages if each["role"] != "assistant")
        if characters > self._most_characters:
            raise ContextTooLong(
                f"This model's maximum context length is {self._max_model_len} tokens, which hold at most "
                f"{self._most_characters} characters, but `messages` has {characters}.",
                param="messages",
            )


def encoder_of(tokenizer: Any) -> Callable[[str], list[int]] | None:
    """The tokenizers library's own way from a text to its tokens; None where it is not there, or gives others."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return None

    def encode(text: str) -> list[int]:
        ids: list[int] = backend.encode(text, add_special_tokens=False).ids
        return ids

    return encode if encode(_SAMPLE) == tokenizer(_SAMPLE, add_special_tokens=False)["input_ids"] else None


def _characters(content: str | Sequence[Mapping[str, Any]]) -> int:
    """Characters of the text in a message's content; the template strips the space around it."""
    if isinstance(content, str):
        return len(content.strip())
    return sum(len(part["text"].strip()) for part in content if part["type"] == "text")


def _is_short(messages: Sequence[Mapping[str, Any]], template_arguments: Mapping[str, Any]) -> bool:
    """Whether there is nothing in it but a little text."""
    if len(messages) > _ON_LOOP_MESSAGES or not all(isinstance(each, bool) for each in template_arguments.values()):
        return False
    left = _ON_LOOP_CHARACTERS
    for message in messages:
        for value in message.values():
            if not isinstance(value, str):
                return False
            left -= len(value)
    return left >= 0


def media_places(engine_input: Mapping[str, Any]) -> Mapping[int, str]:
    """The content hash of each image by the place of its first token."""
    hashes, places = engine_input.get("mm_hashes") or {}, engine_input.get("mm_placeholders") or {}
    return {
        place.offset: str(key)
        for kind, keys in hashes.items()
        for key, place in zip(keys, places.get(kind, ()), strict=False)
    }


def _videos(messages: Sequence[Mapping[str, Any]]) -> list[DecodedVideo]:
    return [
        part["video"]
        for message in messages
        if not isinstance(message["content"], str)
        for part in message["content"]
        if part["type"] == "video"
    ]


def with_media(
    message: Mapping[str, Any], videos: Iterator[str] | None = None, salt: str | None = None
) -> Mapping[str, Any]:
    """The message with decoded images and videos in the form that vLLM takes without fetching or decoding anything.

    `videos` gives the addresses of the conversation's videos in their order.
    """
    from vllm.multimodal.media import MediaWithBytes

    if isinstance(message["content"], str):
        return message

    def wrapped(image: DecodedImage) -> Any:
        # The size goes into the cache key beside the bytes: `detail` makes several sizes of the same bytes.
        # And so does the salt: what the encoder made of an image is kept by that key too.
        key = {"size": "x".join(map(str, image.pixels.size)), **({"salt": salt} if salt is not None else {})}
        return MediaWithBytes(image.pixels, image.encoded, key)

    def part_for_vllm(part: Mapping[str, Any]) -> Mapping[str, Any]:
        if part["type"] == "image":
            return {"type": "image_pil", "image_pil": wrapped(part["image"])}
        if part["type"] == "video":
            assert videos is not None
            return {"type": "video_url", "video_url": {"url": next(videos)}}
        return part

    return {**message, "content": [part_for_vllm(part) for part in message["content"]]}
