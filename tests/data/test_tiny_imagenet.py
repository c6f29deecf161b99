import pytest

from dasm.data.tiny_imagenet import TinyImageNet
from dasm.errors import ConfigError
from tests.pictures import fill

WORDS = {"n02": "goldfish, Carassius auratus", "n01": "crane", "n03": "crane"}
VAL = {"val_0.JPEG": "n01", "val_1.JPEG": "n03", "val_2.JPEG": "n02", "val_3.JPEG": "n01"}


@pytest.fixture
def folder(tmp_path):
    for wnid in WORDS:
        fill(tmp_path, {f"train/{wnid}/images/{wnid}_{i}.JPEG": int(wnid[1:]) for i in range(5)})
        (tmp_path / f"train/{wnid}/{wnid}_boxes.txt").write_text("x")
    fill(tmp_path, {f"val/images/{name}": 10 + int(wnid[1:]) for name, wnid in VAL.items()})
    fill(tmp_path, {"test/images/test_0.JPEG": 99})
    annotate(tmp_path, VAL)
    (tmp_path / "wnids.txt").write_text("\n".join(WORDS) + "\n")
    words = WORDS | {"n09": "never heard of"}
    (tmp_path / "words.txt").write_text("".join(f"{wnid}\t{name}\n" for wnid, name in words.items()))
    return tmp_path


def annotate(folder, images):
    lines = [f"{name}\t{wnid}\t0\t0\t63\t63" for name, wnid in images.items()]
    (folder / "val/val_annotations.txt").write_text("\n".join(lines) + "\n")


def load(folder, **options):
    return TinyImageNet(**{"root": str(folder), "color": "grey"} | options).load(0)


def refusal(folder):
    with pytest.raises(ConfigError) as caught:
        load(folder)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_every_image_has_the_class_that_the_folder_says(folder):
    task = load(folder, validation=0.2)
    for part, base in ((task.train, 1), (task.validation, 1), (task.test, 11)):
        assert part.images[:, 0, 0, 0].tolist() == [base + label for label in part.labels.tolist()]
    assert (len(task.train), len(task.validation), len(task.test)) == (12, 3, 4)
    assert task.test.labels.tolist() == [0, 0, 1, 2]


def test_classes_are_in_the_order_of_their_wnids_and_called_by_their_words(folder):
    # wnids.txt has another order, and two classes share a word.
    assert load(folder).train.class_names == ("crane n01", "goldfish, Carassius auratus", "crane n03")


def test_a_class_without_words_is_called_by_its_wnid(folder):
    (folder / "words.txt").write_text("n01\tcrane\nn03\tlorry\n")
    assert load(folder).train.class_names == ("crane", "n02", "lorry")


def test_images_may_be_resized(folder):
    assert load(folder, size=3, color="rgb").test.image_shape == (3, 3, 3)


def test_an_annotation_outside_the_class_list_is_refused_with_its_line(folder):
    annotate(folder, VAL | {"val_1.JPEG": "n09"})
    rule = "line 2 must name a class of wnids.txt, got 'n09'"
    assert refusal(folder) == f"{folder}/val/val_annotations.txt: {rule}"


def test_an_annotation_without_its_image_is_refused(folder):
    annotate(folder, VAL | {"val_9.JPEG": "n01"})
    rule = "line 5 must name an image in images/ not named before, got 'val_9.JPEG'"
    assert refusal(folder) == f"{folder}/val/val_annotations.txt: {rule}"


def test_an_image_annotated_twice_is_refused(folder):
    path = folder / "val/val_annotations.txt"
    path.write_text(path.read_text() + "val_0.JPEG\tn02\t0\t0\t1\t1\n")
    assert refusal(folder).startswith(f"{path}: line 5 must name an image in images/ not named before")


def test_an_image_without_annotation_is_refused(folder):
    annotate(folder, {name: wnid for name, wnid in VAL.items() if name != "val_2.JPEG"})
    rule = f"must say the class of every image, got none for {folder}/val/images/val_2.JPEG"
    assert refusal(folder) == f"{folder}/val/val_annotations.txt: {rule}"


def test_a_path_that_climbs_out_is_not_followed(folder):
    annotate(folder, VAL | {"../../test/images/test_0.JPEG": "n01"})
    assert "line 5 must name an image in images/" in refusal(folder)


@pytest.mark.parametrize("name", ["wnids.txt", "words.txt", "val/val_annotations.txt"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    assert refusal(folder) == f"{folder}/{name}: must be a readable file (No such file or directory)"


def test_folders_that_are_not_those_of_the_list_are_refused(folder):
    (folder / "wnids.txt").write_text("n01\nn02\n")
    assert refusal(folder) == f"{folder}/train: must have the classes of wnids.txt, but not so 'n03'"
    (folder / "wnids.txt").write_text("n01\nn02\nn02\n")
    assert refusal(folder) == f"{folder}/wnids.txt: class names must differ, got 'n02' and 'n02'"


@pytest.mark.parametrize("options", [{"size": 0}, {"validation": 0.0}, {"validation": 1.0}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ConfigError):
        TinyImageNet(root="x", **options)
