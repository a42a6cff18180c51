"""Requests and answers of the OpenAI API, as plain dicts."""

import itertools
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

_WORDS = [
    "the",
    "model",
    "answers",
    "in",
    "words",
    "that",
    "nobody",
    "should",
    "take",
    "for",
    "an",
    "opinion",
    "of",
    "its",
    "own",
]
_NATURAL_LENGTH = 24  # tokens until it stops by itself
_numbers = itertools.count(1)


class BadRequestError(Exception):
    """What vLLM answers with a 4xx."""

    def __init__(self, message: str, status: int = 400, kind: str = "BadRequestError") -> None:
        super().__init__(message)
        self.status, self.kind = status, kind


@dataclass(frozen=True)
class Request:
    """One generation."""

    id: str
    model: str
    chat: bool
    prompt: int  # tokens
    wanted: int  # tokens to generate
    reason: str  # why it will end: stop or length
    stream: bool


def tokens_of(text: object) -> int:
    """Tokens of a prompt: ids are counted, words are a token each, long words are more."""
    if isinstance(text, str):
        return sum(1 + len(word) // 8 for word in text.split())
    if isinstance(text, list):
        if all(isinstance(item, int) for item in text):
            return len(text)
        return sum(map(tokens_of, text))
    if isinstance(text, dict):  # a message, or a part of one
        return 4 + tokens_of(text.get("content") or text.get("text") or "")
    return 1


def parse_completion(body: dict[str, Any], models: list[str], longest: int) -> Request:
    """``/v1/completions``."""
    if body.get("prompt") is None:
        raise BadRequestError("Either prompt or prompt_embeds must be provided and non-empty.")
    prompt = max(1, tokens_of(body["prompt"]))
    return _request("cmpl", body, prompt, _limit(body, 16), models, longest)


def parse_chat(body: dict[str, Any], models: list[str], longest: int) -> Request:
    """``/v1/chat/completions``."""
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadRequestError("messages: Field required")
    prompt = max(1, tokens_of(messages))
    return _request("chatcmpl", body, prompt, _limit(body, None), models, longest)


def _limit(body: dict[str, Any], default: int | None) -> int | None:
    given = body.get("max_completion_tokens") or body.get("max_tokens") or default
    return None if given is None else int(given)


def _request(
    kind: str, body: dict[str, Any], prompt: int, limit: int | None, models: list[str],
    longest: int,
) -> Request:  # fmt: skip
    model = body.get("model") or models[0]
    if model not in models:
        raise BadRequestError(f"The model `{model}` does not exist.", 404, "NotFoundError")
    room = longest - prompt
    if room < (limit or 1):
        where = "messages" if kind == "chatcmpl" else "prompt"
        asked = f"{prompt + (limit or 1)} tokens ({prompt} in the {where}, {limit or 1} in the"
        raise BadRequestError(
            f"This model's maximum context length is {longest} tokens. However, you requested "
            f"{asked} completion). Please reduce the length of the {where} or completion."
        )
    limit = room if limit is None else limit
    forced = body.get("ignore_eos") or (body.get("min_tokens") or 0) > _NATURAL_LENGTH
    wanted = limit if forced else min(limit, _NATURAL_LENGTH)
    return Request(
        id=f"{kind}-{next(_numbers):032x}",
        model=model,
        chat=kind == "chatcmpl",
        prompt=prompt,
        wanted=max(1, wanted),
        reason="length" if wanted == limit else "stop",
        stream=bool(body.get("stream")),
    )


def answer(request: Request, count: int) -> dict[str, Any]:
    """The whole answer at once."""
    text = _text(range(count))
    choice: dict[str, Any] = {"index": 0, "finish_reason": request.reason, "logprobs": None}
    if request.chat:
        choice["message"] = {"role": "assistant", "content": text}
    else:
        choice["text"] = text
    return {
        **_head(request, "chat.completion"),
        "choices": [choice],
        "usage": _usage(request, count),
    }


def chunk(request: Request, old: int, new: int, *, last: bool = False) -> dict[str, Any]:
    """A piece of a streamed answer: tokens ``old`` to ``new``."""
    reason = request.reason if last else None
    choice: dict[str, Any] = {"index": 0, "finish_reason": reason, "logprobs": None}
    if request.chat:
        choice["delta"] = {"content": _text(range(old, new))}
    else:
        choice["text"] = _text(range(old, new))
    return {**_head(request, "chat.completion.chunk"), "choices": [choice]}


def model_list(names: list[str], longest: int) -> dict[str, Any]:
    """``/v1/models``."""
    entry = {"object": "model", "owned_by": "vllm", "created": int(time.time())}
    data = [{**entry, "id": name, "root": names[-1], "max_model_len": longest} for name in names]
    return {"object": "list", "data": data}


def _head(request: Request, kind: str) -> dict[str, Any]:
    kind = kind if request.chat else "text_completion"
    return {"id": request.id, "object": kind, "created": int(time.time()), "model": request.model}


def _usage(request: Request, count: int) -> dict[str, int]:
    total = request.prompt + count
    return {
        "prompt_tokens": request.prompt,
        "completion_tokens": count,
        "total_tokens": total,
    }


def _text(positions: Iterable[int]) -> str:
    return "".join(f" {_WORDS[position % len(_WORDS)]}" for position in positions)
