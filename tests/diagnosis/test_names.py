"""Names of classes: every source is read, and every mistake names the option."""

import numpy as np
import pytest

from nc_jax.diagnosis import FeatureArchive, HeadArchive, read_class_names


def saved(tmp_path, **arrays):
    path = tmp_path / "features.npz"
    given = {"features": np.eye(3, 4), "labels": np.array([7, 3, 5])}
    np.savez(path, **given | arrays)
    return path


def test_a_list_and_a_file_give_the_same_names(tmp_path):
    path = tmp_path / "names.txt"
    path.write_text("cat\n polar bear \nété\n\n", encoding="utf-8-sig")
    wanted = ["cat", "polar bear", "été"]
    assert read_class_names("cat, polar bear,été") == read_class_names(str(path)) == wanted
    odd = tmp_path / "a,b.txt"
    odd.write_text("x\ny")
    assert read_class_names(str(odd)) == ["x", "y"]
    # Longer than a file name may be.
    assert len(read_class_names(",".join(map(str, range(5000))))) == 5000


def test_names_stand_in_the_order_of_the_labels(tmp_path):
    archive = FeatureArchive(saved(tmp_path), ["three", "five", "seven"])
    assert archive.names.tolist() == ["three", "five", "seven"]
    assert archive.labels.tolist() == [2, 0, 1]
    inside = saved(tmp_path, names=np.array([b"x", b"y", b"z"]))
    assert FeatureArchive(inside).names.tolist() == ["x", "y", "z"]
    assert FeatureArchive(inside, ["a", "b", "c"]).names.tolist() == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("none.txt", "--class-names.*no file none.txt"),
        ("cat", "--class-names.*list with commas"),
        (".", "--class-names cannot read"),
    ],
)
def test_an_unreadable_file_is_named(given, named):
    with pytest.raises(ValueError, match=named):
        read_class_names(given)


def test_a_file_that_is_no_text_is_named(tmp_path):
    path = tmp_path / "names.bin"
    path.write_bytes(b"\xff\xfe\x00a")
    with pytest.raises(ValueError, match="--class-names: .* is not a text file"):
        read_class_names(str(path))


@pytest.mark.parametrize(
    ("names", "named"),
    [
        (["a", "b"], "--class-names must give 3 names.*got 2"),
        (["a", "b", "a"], "--class-names must give different names, got 'a' 2 times"),
        (["a", "", "c"], "--class-names must give names that are not empty.*class number 1"),
        (["a", "b\nc", "d"], "no line breaks"),
    ],
)
def test_wrong_names_are_named(tmp_path, names, named):
    with pytest.raises(ValueError, match=named):
        FeatureArchive(saved(tmp_path), names)
    head = tmp_path / "head.npz"
    np.savez(head, classifiers=np.eye(3), counts=np.ones(3))
    with pytest.raises(ValueError, match=named):
        HeadArchive(head, class_names=names)


def test_wrong_names_of_the_file_name_the_file(tmp_path):
    with pytest.raises(ValueError, match=r"names of .*features.npz must give 3 names"):
        FeatureArchive(saved(tmp_path, names=np.array(["a", "b"])))
    with pytest.raises(ValueError, match="names must be texts or integers"):
        FeatureArchive(saved(tmp_path, names=np.ones(3)))
    with pytest.raises(ValueError, match="pickled"):
        FeatureArchive(saved(tmp_path, names=np.array([None] * 3)))
