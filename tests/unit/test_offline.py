"""Where sequential decoding cuts a window, and where the next one begins."""

from __future__ import annotations

import pytest

from models.offline import Window, window_of

T = 1000
"""The first timestamp token; T + n is n * 20 ms."""


@pytest.mark.parametrize(
    ("tokens", "window"),
    [
        ([], Window([[]], 3000)),
        ([1, 2], Window([[1, 2]], 3000)),
        ([T, 1, 2], Window([[T, 1, 2]], 3000)),
        # One segment, after which nothing is said: all was heard.
        ([T, 1, 2, T + 50], Window([[T, 1, 2, T + 50]], 3000)),
        # The second segment is not complete: on to where the first one ended.
        ([T, 1, T + 50, T + 50, 2], Window([[T, 1, T + 50]], 100)),
        ([T, 1, T + 9, T + 9, 2, T + 99, T + 99], Window([[T, 1, T + 9], [T + 9, 2, T + 99]], 198)),
        # Both are, and nothing is said after the last timestamp.
        ([T, 1, T + 9, T + 9, 2, T + 99], Window([[T, 1, T + 9], [T + 9, 2, T + 99]], 3000)),
        # A segment without length would never end.
        ([T, T, 1, 2], Window([[T]], 3000)),
    ],
)
def test_a_window_is_cut_between_two_timestamps(tokens: list[int], window: Window) -> None:
    assert window_of(tokens, T, 3000) == window
