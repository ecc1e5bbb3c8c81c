"""A track's mean score, and its class by the sum of its scores, while its frames come in."""


class ScoreVotes:
    """Scores of one track, each a vote for the class it came with."""

    def __init__(self) -> None:
        self.count = 0
        self.total = 0.0
        self._by_category: dict[int, float] = {}

    def add(self, category_id: int, score: float) -> None:
        """One frame's."""
        self.count += 1
        self.total += score
        self._by_category[category_id] = self._by_category.get(category_id, 0.0) + score

    @property
    def mean(self) -> float:
        """The mean score."""
        return self.total / self.count

    def category(self) -> int:
        """The class with the largest sum of scores; of equal ones the lowest id."""
        return max(self._by_category, key=lambda category_id: (self._by_category[category_id], -category_id))
