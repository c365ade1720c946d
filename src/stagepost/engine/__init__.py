"""Composition of the pure stages into one deterministic Plan per partition and batch. Pure."""
