"""The key of an image in the engine's cache, made by vLLM's own hasher."""

from __future__ import annotations

from PIL import Image

from server.engine.rendering import with_media
from server.engine.torchvision_ops import ensure
from server.generation.ports import DecodedImage


def key(image: DecodedImage, salt: str | None = None) -> str:
    ensure()
    from vllm.multimodal.hasher import MultiModalHasher

    message = with_media({"role": "user", "content": [{"type": "image", "image": image}]}, salt=salt)
    return str(MultiModalHasher.hash_kwargs("sha256", image=message["content"][0]["image_pil"]))


def test_the_same_bytes_in_two_sizes_have_two_keys() -> None:
    """`detail` makes both; one key would give one request the other's image, with the wrong number of tokens."""
    small, large = (DecodedImage(Image.new("RGB", (side, side)), b"same") for side in (8, 16))
    assert key(small) != key(large)
    assert key(small) == key(DecodedImage(Image.new("RGB", (8, 8)), b"same"))
    assert key(small) != key(DecodedImage(Image.new("RGB", (8, 8)), b"other"))


def test_tenants_that_are_kept_apart_share_no_image() -> None:
    image = DecodedImage(Image.new("RGB", (8, 8)), b"same")
    assert len({key(image), key(image, "gina's"), key(image, "hank's")}) == 3
    assert key(image, "gina's") == key(image, "gina's")
