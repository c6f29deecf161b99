import os

import numpy as np
import pytest

from dasm.errors import ConfigError
from dasm.images.folders import file_source, folders_in, image_files, read_lines
from dasm.images.reading import ImageReader
from tests.pictures import fill, levels


def refusal(function, *arguments):
    with pytest.raises(ConfigError) as caught:
        function(*arguments)
    message = str(caught.value)
    assert "\n" not in message
    return message


def names(root, files):
    return [os.path.relpath(file, root) for file in files]


def test_folders_are_in_the_order_of_their_code_points(tmp_path):
    for name in ("b", "a", "Z", "10", "2", "é", "e", "n01", ".hidden"):
        (tmp_path / name).mkdir()
    (tmp_path / "file.png").touch()
    assert folders_in(tmp_path) == ["10", "2", "Z", "a", "b", "e", "n01", "é"]


def test_images_are_found_below_and_everything_else_is_left_alone(tmp_path):
    fill(tmp_path, {"b.png": 0, "a.JPEG": 0, "deep/er/c.Tif": 0, "deep/a.webp": 0})
    for other in ("notes.txt", ".hidden.png", ".git/x.png", "labels.csv", "no-suffix"):
        (tmp_path / other).parent.mkdir(exist_ok=True)
        (tmp_path / other).touch()
    assert names(tmp_path, image_files(tmp_path)) == ["a.JPEG", "b.png", "deep/a.webp", "deep/er/c.Tif"]


def test_links_to_files_and_folders_are_followed(tmp_path):
    fill(tmp_path, {"real/a.png": 0, "one.png": 0})
    (tmp_path / "set").mkdir()
    (tmp_path / "set/cats").symlink_to(tmp_path / "real")
    (tmp_path / "set/two.png").symlink_to(tmp_path / "one.png")
    assert folders_in(tmp_path / "set") == ["cats"]
    assert names(tmp_path, image_files(tmp_path / "set")) == ["set/cats/a.png", "set/two.png"]


def test_a_loop_of_links_is_refused(tmp_path):
    fill(tmp_path, {"cats/a.png": 0})
    (tmp_path / "cats/again").symlink_to(tmp_path / "cats")
    rule = "must not lead back to a folder above it (a symbolic link in a loop)"
    assert refusal(image_files, tmp_path / "cats") == f"{tmp_path}/cats/again: {rule}"


@pytest.mark.parametrize("find", [folders_in, image_files])
def test_a_link_to_itself_or_to_nothing_is_refused(tmp_path, find):
    (tmp_path / "cats").symlink_to(tmp_path / "cats")
    rule = "must be a link that leads somewhere"
    assert refusal(find, tmp_path) == f"{tmp_path}/cats: {rule} (Too many levels of symbolic links)"
    (tmp_path / "cats").unlink()
    (tmp_path / "cats").symlink_to(tmp_path / "nowhere")
    assert refusal(find, tmp_path) == f"{tmp_path}/cats: {rule} (No such file or directory)"


@pytest.mark.parametrize("find", [folders_in, image_files])
def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch, find):
    missing = refusal(find, tmp_path / "x")
    assert missing == f"{tmp_path}/x: must be a readable folder (No such file or directory)"
    (tmp_path / "f").touch()
    assert refusal(find, tmp_path / "f") == f"{tmp_path}/f: must be a readable folder (Not a directory)"

    def refuse(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("os.scandir", refuse)
    assert refusal(find, tmp_path) == f"{tmp_path}: must be a readable folder (Permission denied)"


def test_a_folder_without_images_is_refused(tmp_path):
    (tmp_path / "notes.txt").touch()
    assert refusal(image_files, tmp_path).startswith(f"{tmp_path}: must hold images (.bmp, ")


def test_lines_of_a_file_that_is_no_text_are_refused(tmp_path):
    path = tmp_path / "list.txt"
    assert refusal(read_lines, path) == f"{path}: must be a readable file (No such file or directory)"
    path.write_bytes(b"\xff\xfe")
    assert refusal(read_lines, path) == f"{path}: must be text in UTF-8 (invalid start byte)"
    path.write_bytes("ä\r\nb\n".encode())
    assert read_lines(path) == ["ä", "b"]


def test_a_source_of_files_reads_the_right_file_for_every_label(tmp_path):
    fill(tmp_path, {f"{i}.png": i for i in range(20)})
    paths = [str(tmp_path / f"{i}.png") for i in range(20)]
    stored = {"train": [paths[:3], paths[3:14]], "test": [paths[14:18], paths[18:]], "validation": [[], paths[:1]]}
    source = file_source("x", ("a", "b"), stored, ImageReader(color="grey"), seed=0, validation=0.5)
    task = source.task()
    assert levels(task.train) == [(i, int(i >= 3)) for i in range(14)]
    assert levels(task.test) == [(i, int(i >= 18)) for i in range(14, 20)]
    assert levels(task.validation) == [(0, 1)]


def test_every_file_is_read_whatever_the_size_of_a_block(tmp_path, monkeypatch):
    fill(tmp_path, {f"{i}.png": i for i in range(7)})
    paths = [str(tmp_path / f"{i}.png") for i in range(7)]
    for length in (1, 2, 3, 6, 7, 8):
        monkeypatch.setattr("dasm.images.folders.block_length", lambda *_, length=length: length)
        stored = {"train": [paths[:2], paths[2:5]], "test": [paths[5:6], paths[6:]], "validation": [paths[:1], []]}
        task = file_source("x", ("a", "b"), stored, ImageReader(color="grey"), seed=0, validation=0.5).task()
        assert levels(task.train) == [(0, 0), (1, 0), (2, 1), (3, 1), (4, 1)]
        assert levels(task.test) == [(5, 0), (6, 1)]


def test_no_pixel_is_read_before_it_is_needed(tmp_path):
    paths = [[str(tmp_path / f"{label}{i}.png") for i in range(4)] for label in range(2)]
    source = file_source("x", ("a", "b"), {"train": paths}, ImageReader(size=4), seed=0, validation=0.3, test=0.3)
    assert source.image_shape == (3, 4, 4) and np.bincount(source.labels).tolist() == [4, 4]
    missing = [f"{path}: must be a readable image (No such file or directory)" for path in (*paths[0], *paths[1])]
    assert refusal(source.task) == "; ".join(missing)
