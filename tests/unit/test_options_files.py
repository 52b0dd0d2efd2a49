"""Configuration files by file and line."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consoled.errors import ConfigError
from consoled.options.files import find, parse, refuse_unknown
from consoled.options.groups import known_names


def write(folder: Path, text: str | bytes, name: str = "consoled.conf") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("port = 1\n", ":1: this line stands before any [section]"),
        ("\n[api]\nport\n", ":3: this line is neither 'key = value'"),
        ("[api]\n= 1\n", ":2: this line has nothing before its '='"),
        ("[api]\n port = 1\n", ":2: this line is indented"),
        ("[api] # ours\n", ":1: this line starts a section that does not end with ']'"),
        ("[]\n", ":1: this line starts a section without a name"),
        (b"[api]\n# \xff\n", ":2: this line is not UTF-8 text"),
        ("\ufeff[api]\n", ":1: starts with a byte order mark"),
    ],
)
def test_broken_syntax_names_its_line(tmp_path: Path, text: str | bytes, problem: str) -> None:
    """A file that is not in the form is refused with the line and the rule."""
    path = write(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        parse(path)
    assert f"{path}{problem}" in str(caught.value)


def test_syntax_errors_quote_nothing(tmp_path: Path) -> None:
    """A broken line may hold a password, so that no error repeats it."""
    path = write(tmp_path, "[database]\nmysql://user:sesame@host/\n[x\n")
    with pytest.raises(ConfigError) as caught:
        parse(path)
    assert "sesame" not in str(caught.value)


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    """A missing file, a folder and a name that no file can have each give one line."""
    for path, reason in [
        (tmp_path / "none.conf", "No such file or directory"),
        (tmp_path, "Is a directory"),
        (Path("a\x00b"), "null byte"),
    ]:
        with pytest.raises(ConfigError, match=reason):
            parse(path)


def test_a_pipe_is_refused(tmp_path: Path) -> None:
    """A pipe could be read only once, and would seem empty the second time."""
    import os

    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match="regular file"):
        parse(tmp_path / "pipe")


def test_places_are_exact(tmp_path: Path) -> None:
    """Each value is known with its line, also at the end of the file and over several lines."""
    path = write(tmp_path, "[api]\nlisten = a,\n  b\nport=1\n\n[API]\nkey : 'x'")
    places = parse(path).places
    assert {(p.section, p.key): (p.line, p.raw) for p in places.values()} == {
        ("api", "listen"): (2, "a,\nb"),
        ("api", "port"): (4, "1"),
        ("api", "key"): (7, "x"),
    }


def test_the_last_file_wins_then_the_first_name(tmp_path: Path) -> None:
    """A place is found as oslo.config finds the value: by file first, then by name."""
    one = parse(write(tmp_path, "[serial_console]\nport = 1\nserialproxy_port = 2\n", "1"))
    two = parse(write(tmp_path, "[serial_console]\nserialproxy_port = 3\n", "2"))
    names = [("serial_console", "port"), ("serial_console", "serialproxy_port")]
    assert [place.raw for files in ([one], [one, two]) if (place := find(files, names))] == [
        "1",
        "3",
    ]
    assert find([], names) is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[serial_console]\nprot = 1\n", ":2: [serial_console] has no option 'prot'; did you mean"),
        ("[serial_console]\nport-range = 1\n", "did you mean 'port_range'?"),
        ("[serial_console]\ntoken_ttl = 1\n", "it belongs in [consoleauth]"),
        ("[libvirt]\nzzz = 1\n", "its options are chardev_tls_ca, "),
        ("[default]\n", ":1: there is no section [default]; did you mean [DEFAULT]?"),
        ("\n[serial-console]\nx = 1\n", ":2: there is no section [serial-console]; did you mean"),
        ("[zzz]\n", "; the sections are DEFAULT, serial_console"),
        ("[api]\nx = 1\n[zzz]\n", ":2: [api] has no option"),
    ],
)
def test_unknown_names_are_refused(tmp_path: Path, text: str, problem: str) -> None:
    """A key or section that nothing reads is an error with its line and a suggestion."""
    with pytest.raises(ConfigError) as caught:
        refuse_unknown(parse(write(tmp_path, text)), known_names())
    assert problem in str(caught.value)


@settings(deadline=None)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.text("[]=:#ab \t\n'\"$\\", max_size=60).map(str.encode),
    )
)
def test_arbitrary_bytes_are_taken_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    """No content makes the parser raise anything but one line."""
    path = tmp_path_factory.getbasetemp() / "arbitrary.conf"
    path.write_bytes(data)
    try:
        refuse_unknown(parse(path), known_names())
    except ConfigError as error:
        assert "\n" not in str(error)
