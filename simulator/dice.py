"""Whole random numbers from one seed; nothing else in a simulated life is random."""

import random
from calendar import monthrange
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from simulator.transfer_files import UNITS

_DECIMALS_ONE_IN = 12

_Choice = TypeVar("_Choice")


class Dice:
    """Chances are "one in so many", points are in units of a ten-thousandth."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def roll(self, sides: int) -> int:
        return self._random.randrange(sides)

    def hits(self, one_in: int) -> bool:
        return self.roll(one_in) == 0

    def pick(self, choices: Sequence[_Choice]) -> _Choice:
        return choices[self.roll(len(choices))]

    def draw_points(self, least: int, below: int) -> int:
        """Units of `least` to `below` points, mostly whole, else with one to four decimals."""
        units = (least + self.roll(below - least)) * UNITS
        if self.hits(_DECIMALS_ONE_IN):
            places = 1 + self.roll(4)
            units += (1 + self.roll(10**places - 1)) * 10 ** (4 - places)
        return units

    def draw_delay(self, least_days: int, below_days: int) -> timedelta:
        days = least_days + self.roll(below_days - least_days)
        return timedelta(days=days, seconds=self.roll(86_400))

    def draw_shopping_time(self, month: datetime) -> datetime:
        day = self.roll(monthrange(month.year, month.month)[1])
        return month + timedelta(days=day, hours=7, seconds=self.roll(15 * 3_600))
