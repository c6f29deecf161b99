import pytest

from dasm.data.imagenet_subset import ImageNetSubset
from dasm.errors import ConfigError
from tests.pictures import fill

WNIDS = ("n02086240", "n01440764", "n03888257", "n02102040")


@pytest.fixture
def folder(tmp_path):
    for level, wnid in enumerate(WNIDS):
        fill(tmp_path, {f"train/{wnid}/{wnid}_{i}.JPEG": 20 * level + 100 for i in range(4)})
        fill(tmp_path, {f"val/{wnid}/ILSVRC2012_val_{i}.JPEG": 20 * level for i in range(2)})
    return tmp_path


def load(folder, text, **options):
    (folder / "classes.txt").write_text(text)
    options = {"size": 4, "color": "grey"} | options
    return ImageNetSubset(root=str(folder), classes=str(folder / "classes.txt"), **options).load(0)


def refusal(folder, text):
    with pytest.raises(ConfigError) as caught:
        load(folder, text)
    message = str(caught.value)
    assert "\n" not in message
    return message


def means(data, label):
    return set(data.images[data.labels == label].flatten().tolist())


def test_the_classes_of_the_list_are_read_and_no_others(folder):
    task = load(folder, "# the two dogs\nn02102040\n\n  n02086240  \n")
    assert task.train.class_names == ("n02086240", "n02102040")
    assert [means(task.test, label) for label in range(2)] == [{0}, {60}]
    assert [means(task.train, label) for label in range(2)] == [{100}, {160}]
    assert (len(task.train), len(task.validation), len(task.test)) == (6, 2, 4)


def test_the_order_of_the_list_does_not_matter(folder):
    first = load(folder, "n02102040\nn02086240\nn01440764")
    second = load(folder, "n01440764\nn02102040\nn02086240\n")
    assert first.train.class_names == second.train.class_names == ("n01440764", "n02086240", "n02102040")
    assert (first.train.labels == second.train.labels).all() and (first.train.images == second.train.images).all()


def test_images_are_224_pixels_unless_asked_otherwise(folder):
    assert load(folder, "n02102040\nn02086240", size=224).test.image_shape == (1, 224, 224)
    assert ImageNetSubset(root="x", classes="y").size == 224


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("n02102040\nn02086240\nn02102040", "class names must differ, got 'n02102040' and 'n02102040'"),
        ("n02102040", "must have at least 2 classes, got 1 (n02102040)"),
        ("", "must have at least 2 classes, got 0 (none)"),
        ("n02102040\n../val/n02086240", "must have the name of a folder a line, got '../val/n02086240'"),
        ("n02102040\n..", "must have the name of a folder a line, got '..'"),
    ],
)
def test_a_list_that_is_none_is_refused(folder, text, rule):
    assert refusal(folder, text) == f"{folder}/classes.txt: {rule}"


def test_a_class_that_is_not_there_is_named(folder):
    message = refusal(folder, "n02102040\nn99999999")
    assert message == f"{folder}/train/n99999999: must be a readable folder (No such file or directory)"


def test_a_missing_list_is_named(folder):
    with pytest.raises(ConfigError, match=r"none\.txt: must be a readable file \(No such file or directory\)$"):
        ImageNetSubset(root=str(folder), classes=str(folder / "none.txt")).load(0)


@pytest.mark.parametrize("options", [{"size": 0}, {"validation": 0.0}, {"validation": 1.0}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ConfigError):
        ImageNetSubset(root="x", classes="y", **options)
