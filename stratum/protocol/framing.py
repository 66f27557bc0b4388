"""Cut a stream of bytes into lines."""

from stratum.errors import LineTooLong


def split_lines(partial: bytes, data: bytes, *, line_bytes_max: int) -> tuple[list[bytes], bytes]:
    r"""Return the complete lines without their `\n`, and what is left of an unfinished one.

    Args:
        partial: What was left over last time.
        data: What came now.
        line_bytes_max: Limit of one line, without `\n`.

    Raises:
        LineTooLong: A line, finished or not, exceeds the limit.
    """
    lines = (partial + data if partial else data).split(b"\n")
    rest = lines.pop()
    if len(rest) > line_bytes_max or any(len(line) > line_bytes_max for line in lines):
        raise LineTooLong(line_bytes_max)
    return lines, rest
