"""What vLLM raises, in the words of the core."""

from __future__ import annotations

from http import HTTPStatus

from server.generation.errors import (
    ContextTooLong,
    EngineDied,
    EngineFailed,
    InvalidRequest,
    RequestFailed,
    Unavailable,
)


def translate(error: Exception) -> Exception:
    """The core's error for one of vLLM's; a RequestFailed passes unchanged.

    The classes follow vLLM's own mapping (entrypoints/serve/exception_handling/error_response.py): its client errors
    and bare ValueError or TypeError are the request's fault, the rest is ours.
    """
    if isinstance(error, RequestFailed):
        return error
    from vllm.exceptions import GracefulHTTPError, VLLMClientError
    from vllm.v1.engine.exceptions import EngineDeadError

    if isinstance(error, EngineDeadError):
        return EngineDied("The engine has died; this request cannot be finished.")
    if isinstance(error, GracefulHTTPError) and error.http_status == HTTPStatus.SERVICE_UNAVAILABLE:
        # vLLM's own caps (max_num_queued_reqs and _tokens), should the operator have set them under `engine`. They do
        # not say when to come back.
        return Unavailable(error.message, code="overloaded", retry_after=1)
    # jinja2's TemplateError is what a chat template's own refusals arrive as.
    if isinstance(error, VLLMClientError | ValueError | TypeError) or _is_template_error(error):
        message = str(error.args[0]) if error.args else str(error)
        if message.startswith("Failed to apply"):
            # vLLM's multimodal processor prints its inputs; what a stranger's image held is nobody's to read.
            return InvalidRequest("The images or videos of this request could not be processed.", code="invalid_image")
        param = getattr(error, "parameter", None)
        if "context length" in message or "max_model_len" in message:
            return ContextTooLong(message, param="messages")
        return InvalidRequest(message, param=_OUR_NAMES.get(param, param))
    return EngineFailed(f"The engine failed: {type(error).__name__}.")


# vLLM names its own arguments; these are the request's names for them.
_OUR_NAMES: dict[str | None, str | None] = {"input_tokens": "messages", "input_text": "messages", "prompt": "messages"}


def _is_template_error(error: Exception) -> bool:
    import jinja2

    return isinstance(error, jinja2.TemplateError)
