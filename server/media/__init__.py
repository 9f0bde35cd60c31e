"""Decoding images from strangers: bounded before and while it is done."""
