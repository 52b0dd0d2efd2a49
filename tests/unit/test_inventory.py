"""The inventory of the static driver."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consoled.compute.inventory import parse_inventory, read_inventory
from consoled.errors import ConfigError
from consoled.model import Console, Instance, InstanceState
from consoled.yamlfile import MAX_BYTES

UUID = "2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0001"
OTHER = "2f9e1b6e-3c43-4f6e-9b0a-1d1f6f6b0002"
ONE = f"instances:\n  - uuid: {UUID}\n    name: web-1\n    host: rack1\n"


def refusal(text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_inventory(text, "inv.yaml")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_full_inventory() -> None:
    """Every key reaches its field, in its normal form."""
    text = f"""
instances:
  - uuid: {UUID.upper()}
    name: 007
    project_id: demo
    host: rack1
    addresses: [10.0.0.5, "[FE80::1]"]
    state: stopped
    serial:
      - Console.example.org:7000
      - "[0::1]:7001"
  - {{uuid: {OTHER}, name: b, host: h, project_id: null, serial: [127.0.0.1:7000]}}
"""
    assert parse_inventory(text, "inv.yaml") == (
        Instance(
            uuid=UUID,
            name="007",
            project_id="demo",
            host="rack1",
            state=InstanceState.STOPPED,
            consoles=(Console(0, "console.example.org", 7000), Console(1, "::1", 7001)),
            addresses=("10.0.0.5", "fe80::1"),
        ),
        Instance(
            uuid=OTHER,
            name="b",
            project_id=None,
            host="h",
            state=InstanceState.RUNNING,
            consoles=(Console(0, "127.0.0.1", 7000),),
        ),
    )


def test_no_instances_must_be_meant() -> None:
    """An empty file is refused (it may be cut off), an empty list is not."""
    assert parse_inventory("instances: []", "inv.yaml") == ()
    for text in ("", "# nothing\n", "null", "instances:\n"):
        assert "write 'instances: []'" in refusal(text)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("- a", ":1: the inventory is a list; write 'instances: ...' lines"),
        ("\ninstnces: []", ":2: the inventory has no key 'instnces'; did you mean 'instances'?"),
        ("instances: x", ":1: instances is a single value; write a list"),
        ("instances:\n  - a", ":2: this instance is a single value"),
        ("instances:\n  - name: a", ":2: this instance lacks uuid, host"),
        (ONE + "    nmae: a", ":5: this instance has no key 'nmae'; did you mean 'name'?"),
        (ONE + "    name: a", ":5: this instance has the key 'name' twice; the first is on line 3"),
        (ONE + "    [a]: b", ":5: this instance has a list as a key"),
        (ONE.replace(UUID, "web"), ":2: uuid 'web' is not a UUID"),
        (ONE.replace("web-1", "''"), ":3: name is empty"),
        (ONE.replace("web-1", "[a]"), ":3: name is a list; write one value"),
        (ONE.replace("web-1", '"a\\tb"'), ":3: name holds a line break or another control"),
        (ONE.replace("web-1", "a" * 256), ":3: name is longer than 255 characters"),
        (ONE + f"  - uuid: {UUID}\n    name: b\n    host: h", ":5: uuid"),
        (ONE + "    state: off", ":5: state 'off' is not one of running, paused, stopped"),
        (ONE + "    addresses: [10.0.0.1, x]", ":5: address 'x' is not an IP address"),
        (ONE + "    serial: a:1", ":5: serial is a single value; write a list"),
        (ONE + "    serial:\n      - a", ":6: serial console 'a' is not HOST:PORT"),
        (ONE + "    serial:\n      - ::1:7000", ":6: serial console '::1:7000' is not HOST:PORT"),
        (ONE + "    serial: [a:0]", ":5: serial console 'a:0' has a port outside 1 to 65535"),
        (ONE + "    serial: [a:65536]", "has a port outside"),
        (ONE + "    serial: ['a b:1']", "serial console 'a b:1' is not a host"),
        (
            ONE + f"    serial: [a:1]\n  - uuid: {OTHER}\n    name: b\n    host: h\n"
            "    serial: [A:1]",
            ":9: serial console 'a:1' is already on line 5",
        ),
        (ONE + "    serial:\n      - [::1]:7000", 'put "[address]:port" in quotes'),
        ("a: [1\nb: 2", ":2: this is not YAML: did not find expected ',' or ']'"),
        ("a:\n\t- b", ":2: this is not YAML: found character that cannot start any token"),
        ("a: 'x\n", "which starts on line 1"),
        (ONE + "    serial: *x", ":5: this is not YAML: found undefined alias"),
        ("--- 1\n--- 2\n", ":2: this is not YAML: found another document"),
        ("a: \x00", "it holds a control character"),
        ("\ud800", "it holds a control character"),
        (ONE + f"    serial: [{', '.join(f'a:{n}' for n in range(1, 66))}]", "at most 64"),
    ],
)
def test_errors_name_line_and_rule(text: str, problem: str) -> None:
    """Whatever is wrong is one line with the file, the line and what to write."""
    line = refusal(text)
    assert line.startswith("inv.yaml:")
    assert problem in line


def test_deep_nesting_is_refused() -> None:
    """Nesting that would overflow the composer's stack is refused before it is composed."""
    for text in ("[" * 100_000, "- " * 100_000, "{a: " * 100_000):
        assert "nested too deeply" in refusal(text)


def test_tags_make_no_objects(tmp_path: Path) -> None:
    """A tag that would construct a Python object is only text here."""
    made = tmp_path / "made"
    tag = f"!!python/object/apply:pathlib.Path.touch [!!python/name:x '{made}']"
    assert "state is a list" in refusal(ONE + f"    state: {tag}")
    assert not made.exists()


def test_aliases_cost_nothing() -> None:
    """A file of nested aliases that stands for a billion values is refused at once."""
    bomb = "a0: &a0 [x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)
    )
    assert "has no key 'a0'" in refusal(bomb)
    shared = f"    addresses: &many [{', '.join(['10.0.0.1'] * 65)}]\n"
    assert "at most 64 addresses" in refusal(ONE + shared)


def test_files_are_bounded_and_named(tmp_path: Path) -> None:
    """A missing, an overlong and a wrongly encoded file are each one line with the path."""
    path = tmp_path / "inventory.yaml"
    for content, reason in [
        (None, ": cannot read this inventory: No such file or directory"),
        (b"#" * (MAX_BYTES + 1), ": this inventory is larger than 4 MiB"),
        (b"instances:\n# \xff\n", ":2: this line is not UTF-8 text"),
    ]:
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ConfigError) as caught:
            read_inventory(path)
        assert str(caught.value) == f"{path}{reason}"
    path.write_bytes(b"\xef\xbb\xbf" + ONE.encode())
    assert len(read_inventory(path)) == 1


YAMLISH = st.text("ab:-[]{}*&!?|>'\"#%@ \n\t,01", max_size=60)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=20), st.just("a:1"))


@settings(deadline=None)
@given(st.one_of(st.text(), YAMLISH, YAMLISH.map(lambda text: f"{ONE}    serial: {text}")))
def test_arbitrary_text_is_taken_or_refused(text: str) -> None:
    """No text makes the parser raise anything but one line."""
    try:
        parse_inventory(text, "inv.yaml")
    except ConfigError as error:
        assert len(str(error).splitlines()) == 1


@settings(deadline=None)
@given(
    st.fixed_dictionaries(
        {"uuid": st.one_of(SCALARS, st.just(UUID)), "name": SCALARS, "host": SCALARS},
        optional={
            "serial": st.one_of(SCALARS, st.lists(SCALARS)),
            "addresses": st.one_of(SCALARS, st.lists(SCALARS)),
            "state": SCALARS,
            "project_id": SCALARS,
        },
    )
)
def test_arbitrary_values_are_taken_or_refused(instance: dict[str, object]) -> None:
    """Well-formed YAML with values of every kind gives instances or one line."""
    import yaml

    text = yaml.safe_dump({"instances": [instance]})
    try:
        [parsed] = parse_inventory(text, "inv.yaml")
    except ConfigError as error:
        assert len(str(error).splitlines()) == 1
    else:
        assert parsed.uuid == UUID
        assert all(console.port for console in parsed.consoles)
