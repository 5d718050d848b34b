"""A YAML file becomes plain values, or one clear error."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from producer.sweep.document import MAX_BYTES, InvalidFile, Problem, parse_document, read_document


def parsed(text: str) -> object:
    return parse_document("f.yaml", f"value: {text}".encode()).content["value"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3e-4", 3e-4),
        ("1E5", 1e5),
        (".5", 0.5),
        ("200_000", 200_000),
        ("007", 7),
        ("-1", -1),
        ("yes", "yes"),
        ("on", "on"),
        ("1:30", "1:30"),
        ("2026-11-22", "2026-11-22"),
        ("true", True),
        ("~", None),
        ("", None),
        ("'3e-4'", "3e-4"),
        ("!!str 3", "3"),
        ("lin_7.3e-4", "lin_7.3e-4"),
        ("[1, [2, {a: b}]]", [1, [2, {"a": "b"}]]),
    ],
)
def test_scalars_are_read_as_yaml_1_2_has_them(text: str, value: object) -> None:
    found = parsed(text)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "f.yaml is empty"),
        (b"# nothing\n", "f.yaml is empty"),
        (b"---\n", "f.yaml is empty"),
        (b"- a\n- b\n", "f.yaml holds a list; it must hold keys"),
        (b"lunar\n", 'f.yaml holds only "lunar"'),
        (b"a: [1, 2\nb: 3\n", "f.yaml, line 2: this is not YAML"),
        (b"a: b: c\n", "f.yaml, line 1: this is not YAML"),
        (b"\ta: 1\n", "f.yaml, line 1: this is not YAML"),
        (b"a: \x00\n", "f.yaml: this is not YAML"),
        (b"a: \xff\n", "f.yaml is not UTF-8 text (byte 3)"),
        (b"a: 1\nb: 2\na: 3\n", "f.yaml, line 3: a: this key stands here twice (first in line 1)"),
        (b"x: {tau: 1, tau: 2}\n", "f.yaml, line 1: x.tau: this key stands here twice"),
        (b"a: 1\nb: .nan\n", "f.yaml, line 2: b: .nan is not allowed: numbers are finite here"),
        (b"a: [1, -.inf]\n", "f.yaml, line 1: a[1]: -.inf is not allowed"),
        (b"a: 1e999\n", "f.yaml, line 1: a: 1e999 is not allowed: it is too large"),
        (b"a: &x [1]\nb: *x\n", "f.yaml, line 1: a: anchors (&) and aliases (*) are not read"),
        (b"a: !!python/object/apply:os.system [ls]\n", "f.yaml, line 1: a: the tag tag:yaml.org,2002:python"),
        (b"? [1]\n: 2\n", "f.yaml, line 1: a key must be one word"),
        (b"a: 1\n---\nb: 2\n", "f.yaml, line 2: a second document starts here"),
        (b"a: " + b"[" * 5_000 + b"\n", "f.yaml, line 1: a[0][0]: nested more than 20 deep"),
        (b"[" * 900_000, "f.yaml, line 1: [0][0][0]: nested more than 20 deep"),
    ],
)
def test_each_bad_file_gets_one_clear_message(raw: bytes, words: str) -> None:
    with pytest.raises(InvalidFile) as caught:
        parse_document("f.yaml", raw)
    assert str(caught.value).startswith(words)
    assert "\n" not in str(caught.value)


@given(st.binary(max_size=300) | st.text(alphabet="ab:-[]{}&*!?|>'\"#%@`,\n \t0.e~", max_size=120).map(str.encode))
@settings(max_examples=200, deadline=None)
def test_no_bytes_raise_anything_else(raw: bytes) -> None:
    try:
        parse_document("f.yaml", raw)
    except InvalidFile as error:
        assert str(error).startswith("f.yaml")  # noqa: PT017 - most inputs are refused, and some are fine


def test_a_file_of_2_mb_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    file = tmp_path / "large.yaml"
    file.write_bytes(b"[" * 2_000_000)
    with pytest.raises(InvalidFile, match=rf"large.yaml has 2,000,000 bytes; a sweep file has at most {MAX_BYTES:,}"):
        read_document(file)


def test_what_is_no_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(InvalidFile, match=r"none.yaml cannot be read: No such file"):
        read_document(tmp_path / "none.yaml")
    with pytest.raises(InvalidFile, match="cannot be read: Is a directory"):
        read_document(tmp_path)


def test_an_endless_file_is_read_no_further_than_allowed() -> None:
    with pytest.raises(InvalidFile, match="more than"):
        read_document(Path("/dev/zero"))


def test_a_problem_is_found_at_the_nearest_line_that_there_is() -> None:
    document = parse_document("f.yaml", b"a:\n  b: 1\nc: 2\n")
    error = document.refuse(Problem(("a", "b"), "x"), Problem(("a", "new"), "y"), Problem((), "z"))
    assert str(error).splitlines() == ["f.yaml, line 2: a.b: x.", "f.yaml, line 1: a.new: y.", "f.yaml, line 1: z."]
