"""Text as tokens: what is read, what is told apart, and clusters of contexts."""

import numpy as np
import pytest

from nc_jax.datasets.contexts import context_rows
from nc_jax.datasets.text import UNKNOWN, load_text, source_files, tokenise


def write(folder, **files):
    for name, text in files.items():
        path = folder / f"{name.replace('__', '/')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def many(folder, number=30):
    write(folder, **{f"file{place}": f"a{place} = b + b\n" * 5 for place in range(number)})


def test_words_symbols_numbers_and_indents_are_tokens():
    found = tokenise("if x_1 >= 20:\n    read_text('é')\n")
    assert found[:9] == ["if", "x", "_", "1", ">", "=", "20", ":", "\n"]
    assert found[9:] == ["    ", "read", "_", "text", "(", "'", "é", "'", ")", "\n"]


def test_the_standard_library_is_read_the_same_every_time():
    one, other = (load_text(50, 3000, 500) for _ in range(2))
    np.testing.assert_array_equal(one.train, other.train)
    assert one.digest == other.digest and one.files == other.files
    assert len(one.train) == 3000 and len(one.test) == 500 and one.train.dtype == np.int32
    assert one.vocabulary[0] == UNKNOWN and len(one.vocabulary) == 50
    np.testing.assert_array_equal(one.counts, np.bincount(one.train, minlength=50))
    assert one.counts.min() > 0 and (np.diff(one.counts[1:]) <= 0).all()


def test_files_are_in_one_part_only_and_a_change_shows_in_the_digest(tmp_path):
    many(tmp_path)
    text = load_text(12, 10**6, 10**6, tmp_path)
    assert text.files == 30
    # Each file has five lines of seven tokens; three files of thirty are held out.
    assert len(text.test) == 3 * 5 * 7 and len(text.train) == 27 * 5 * 7
    (tmp_path / "file0.py").write_text("a0 = b\n")
    assert load_text(12, 10**6, 10**6, tmp_path).digest != text.digest


def test_tests_and_generated_folders_are_left_out(tmp_path):
    write(tmp_path, a="x\n", sub__b="y\n", test__c="z\n", tests__d="z\n", lib__test_e="z\n")
    write(tmp_path, **{"site-packages__f": "z\n"})
    names = {path.name for path in source_files(tmp_path)}
    assert {"a.py", "b.py"} <= names and not {"c.py", "d.py", "test_e.py", "f.py"} & names


def test_contexts_are_clustered_by_their_last_token():
    tokens = np.array([1, 2, 1, 2, 1, 3, 0, 1, 2, 4, 1])
    rows = context_rows(tokens, 5, 3)
    # Followed by something: 1 four times, 2 three times, 0, 3 and 4 once.
    np.testing.assert_array_equal(rows.cluster, [2, 0, 1, 2, 2])
    np.testing.assert_array_equal(rows.counts, [4, 3, 3])
    np.testing.assert_allclose(rows.targets[0], [0, 0, 3 / 4, 1 / 4, 0])
    np.testing.assert_allclose(rows.targets[2], [1 / 3, 2 / 3, 0, 0, 0])
    known = (
        4 * (0.75 * np.log(4 / 3) + 0.25 * np.log(4))
        + 3 * (2 / 3 * np.log(3 / 2) + 1 / 3 * np.log(3))
        + 3 * (2 / 3 * np.log(3 / 2) + 1 / 3 * np.log(3))
    ) / 10
    np.testing.assert_allclose(rows.entropy, known)


def test_bad_arguments_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        load_text(10, 100, 100, tmp_path / "none")
    with pytest.raises(ValueError, match="holds no .py or .txt"):
        load_text(10, 100, 100, tmp_path)
    write(tmp_path, only="a = b\n")
    with pytest.raises(ValueError, match="two files"):
        load_text(3, 100, 100, tmp_path)
    many(tmp_path)
    for arguments, named in [
        ((2, 100, 100), "vocabulary"),
        ((10**6, 100, 100), "vocabulary"),
        ((10, 1, 100), "train_tokens"),
        ((10, 100, 0), "test_tokens"),
    ]:
        with pytest.raises(ValueError, match=named):
            load_text(*arguments, tmp_path)
    for rows in (1, 4):
        with pytest.raises(ValueError, match="rows"):
            context_rows(np.array([0, 1, 0, 1, 2]), 9, rows)
