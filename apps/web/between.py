from . import parts


def page() -> None:
    parts.title("Soon", "")
