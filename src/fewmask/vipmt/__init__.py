"""VIPMT: show K masked pictures of a class, get the class in every frame (README.md)."""
