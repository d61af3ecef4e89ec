"""What is costly is made once for each inference, whichever thread asks first."""

from genie_ros.outputs import Kept


def test_it_is_made_once_and_the_newest_two_are_kept():
    kept, made = Kept(), []

    def value_of(key):
        return kept.of(key, lambda: made.append(key) or f"of {key}")

    assert [value_of(k) for k in (1, 1, 2, 1, 2)] == ["of 1", "of 1", "of 2", "of 1", "of 2"]
    assert made == [1, 2]
    value_of(3)
    assert value_of(2) == "of 2" and made == [1, 2, 3]
    value_of(1)  # dropped when the third came
    assert made == [1, 2, 3, 1]
