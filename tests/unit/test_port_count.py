"""consoled.compute.port_count: image, flavor and request, and who of them has the last word."""

from __future__ import annotations

import pytest

from consoled.compute.port_count import MOST, port_count
from consoled.errors import BadRequest


@pytest.mark.parametrize(
    ("image", "flavor", "asked", "count"),
    [
        ({}, {}, None, 1),
        ({"os_type": "linux"}, {"hw:cpu_policy": "shared"}, None, 1),
        ({"serial_ports": "3"}, {}, None, 3),
        ({"hw_serial_port_count": "3"}, {}, None, 3),
        ({"hw_serial_port_count": 4}, {}, None, 4),
        ({"serial_ports": " 2 ", "hw_serial_port_count": "02"}, {}, None, 2),
        ({}, {"hw:serial_port_count": "2"}, None, 2),
        ({"hw_serial_port_count": "2"}, {"hw:serial_port_count": "3"}, None, 2),
        ({"serial_ports": "3"}, {"hw:serial_port_count": "3"}, None, 3),
        ({"serial_ports": "3"}, {}, 1, 1),
        ({}, {"hw:serial_port_count": "3"}, 3, 3),
    ],
)
def test_the_count(
    image: dict[str, str | int], flavor: dict[str, str | int], asked: int | None, count: int
) -> None:
    """The image's word, else the flavor's, else 1; a request takes the place of the image's."""
    assert port_count(image, flavor, asked) == count


@pytest.mark.parametrize(
    ("image", "flavor", "asked", "words"),
    [
        (
            {"serial_ports": "3"},
            {"hw:serial_port_count": "2"},
            None,
            ["the image's serial_ports asks for 3", "the flavor allows 2", "hw:serial_port_count"],
        ),
        ({}, {"hw:serial_port_count": "2"}, 4, ["the request asks for 4", "allows 2"]),
        (
            {"serial_ports": "1", "hw_serial_port_count": "2"},
            {},
            None,
            ["serial_ports 1", "hw_serial_port_count 2", "set one of them"],
        ),
        ({"serial_ports": "5"}, {}, None, ["the image's serial_ports is 5", f"1 to {MOST}"]),
        ({"serial_ports": "0"}, {}, None, ["is 0", f"1 to {MOST}"]),
        ({"hw_serial_port_count": "-1"}, {}, None, ['is "-1"', "not a number"]),
        ({"hw_serial_port_count": "two\n"}, {}, None, ['is "two"']),
        ({"hw_serial_port_count": "x" * 99}, {}, None, ["x" * 32 + '..."']),
        ({"hw_serial_port_count": "\x1b[2J"}, {}, None, ['"?[2J"']),
        ({}, {"hw:serial_port_count": ""}, None, ["the flavor's hw:serial_port_count", '""']),
        ({"serial_ports": True}, {}, None, ['"True"']),
        ({}, {}, 5, ["ports is 5"]),
        ({}, {}, 0, ["ports is 0"]),
    ],
)
def test_errors_name_the_values(
    image: dict[str, str | int],
    flavor: dict[str, str | int],
    asked: int | None,
    words: list[str],
) -> None:
    """Whoever reads it knows which value is wrong, and of what."""
    with pytest.raises(BadRequest) as caught:
        port_count(image, flavor, asked)
    for word in words:
        assert word in str(caught.value)
