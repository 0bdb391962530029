"""The documents' curl examples print what they printed when they were written.

tests/docs runs them, too, as a reader does, and looks only at whether they work.
"""

from tests.interop import curl
from tests.interop.lines import Line


def test_every_example_prints_what_is_recorded(curl_lines: list[Line]) -> None:
    others = [str(line) for line in curl_lines if line.result != "passed"]
    assert not others, "\n".join(others)
    assert len(curl_lines) == len(list(curl.examples())) > 0
