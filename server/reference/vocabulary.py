"""Words for the training tasks: listed ones, and made-up ones in endless supply, split into training and held-out.

A word is held out when its hash says so, so that no list has to be kept: training never sees it, and evaluation sees
no other.
"""

from __future__ import annotations

import random
import zlib
from dataclasses import dataclass
from typing import Literal

Split = Literal["train", "held-out"]

NAMES = """
Ada Alan Alice Amir Anna Anton Aria Arthur Asha Ben Bianca Boris Bruno Carla Carlos Chen Chloe Clara Daniel David
Diana Elena Eli Emma Eric Eva Felix Fiona Frank Freya George Grace Greta Hana Hans Hugo Ida Igor Ines Iris Ivan Jack
James Jana Jonas Julia Karl Kate Kenji Laura Lena Leo Lena Liam Lily Linda Lucas Lucia Maria Mark Marta Max Maya Mia
Mira Mohamed Nadia Nick Nina Noah Nora Olga Oliver Omar Oscar Otto Paula Peter Pia Priya Rosa Ruth Sam Sara Simon
Sofia Stefan Susan Tara Theo Tim Tom Uma Vera Victor Wei Yara Yuki Zoe
""".split()

CITIES = [
    city
    for line in """
Paris|Rome|Berlin|Madrid|Tokyo|London|Oslo|Cairo|Lima|Seoul|Delhi|Beijing|Sydney|Toronto|Lagos|Nairobi|Vienna
Prague|Athens|Dublin|Lisbon|Boston|Chicago|Denver|Miami|Seattle|Houston|Dallas|Munich|Hamburg|Zurich|Geneva|Milan
Naples|Venice|Warsaw|Moscow|Kyiv|Istanbul|Tehran|Mumbai|Bangkok|Jakarta|Manila|Osaka|Kyoto|Shanghai|Singapore
Stockholm|Helsinki|Copenhagen|Brussels|Amsterdam|Rotterdam|Barcelona|Valencia|Porto|Marseille|Lyon|Bogota|Havana
Santiago|New York|San Francisco|Los Angeles|Las Vegas|Rio de Janeiro|Buenos Aires|Mexico City|Cape Town|Hong Kong
Tel Aviv|New Delhi|Paris, France|Berlin, Germany|Boston, MA|San Francisco, CA|New York, NY|London, UK|Rome, Italy
""".split("\n")
    for city in line.split("|")
    if city
]

WORDS = """
apple bread chair dance eagle flame grape house ink jewel kite lemon money night ocean paper queen river stone table
uncle voice water yellow zebra bridge candle dragon engine forest garden hammer island jacket kitchen ladder mirror
needle orange pencil rabbit silver ticket umbrella village window winter summer spring morning evening coffee music
picture story letter number people world little great small happy quick quiet simple strange young old blue green long
short before after under over always never maybe today tomorrow the and with from this that have will can not you they
""".split()

_ONSETS = """
b c d f g h j k l m n p r s t v w x y z br ch cl dr fl gr kr pl sh st th tr
""".split()
_VOWELS = ["a", "e", "i", "o", "u", "a", "e", "i", "o", "u", "ai", "ea", "io", "ou"]
_CODAS = ["", "", "", "", "n", "r", "l", "s", "m", "t", "k"]


def held_out(value: str) -> bool:
    """Whether `value` belongs to the held-out tenth, whatever its case."""
    return zlib.crc32(value.lower().encode()) % 10 == 0


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Draws words of one split. Held-out draws are made-up or listed words that training never sees."""

    rng: random.Random
    split: Split

    def made_up(self) -> str:
        """A pronounceable word that nobody has seen, such as `Zubavo`."""
        while True:
            syllables = self.rng.randint(2, 3)
            word = "".join(
                self.rng.choice(_ONSETS) + self.rng.choice(_VOWELS) + self.rng.choice(_CODAS) for _ in range(syllables)
            )
            if self._allowed(word):
                return word.capitalize()

    def name(self) -> str:
        """A person's name."""
        return self._listed(NAMES) if self.rng.random() < 0.35 else self.made_up()

    def city(self) -> str:
        """A city's name, sometimes of several words."""
        draw = self.rng.random()
        if draw < 0.45:
            return self._listed(CITIES)
        return self.made_up() if draw < 0.93 else f"{self.made_up()} {self.made_up()}"

    def symbol(self) -> str:
        """A stock's ticker symbol."""
        while True:
            word = "".join(self.rng.choices("ABCDEFGHIJKLMNOPQRSTUVWXYZ", k=self.rng.randint(2, 4)))
            if self._allowed(word):
                return word

    def text(self, most: int = 6) -> str:
        """A few words; any mixture of listed, made-up, numbers and odd signs."""
        kinds = (
            lambda: self.rng.choice(WORDS),
            lambda: self.rng.choice(WORDS).capitalize(),
            self.made_up,
            lambda: self.made_up().lower(),
            lambda: str(self.rng.randint(0, 9999)),
            lambda: "".join(self.rng.choices("abcdefghijklmnopqrstuvwxyz", k=self.rng.randint(1, 7))),
            lambda: self.rng.choice(
                [
                    "é",
                    "ü",
                    "ñ",
                    "你好",
                    "世界",
                    "мир",
                    "λ",
                    "∑",
                    "🙂",
                    "🚀",
                    "&",
                    "@",
                    "#",
                    "%",
                    "(",
                    ")",
                    "/",
                    "-",
                    "+",
                    "=",
                    "<",
                    ">",
                    "{",
                    "}",
                    "[",
                    "]",
                    "_",
                    "*",
                    "~",
                ]
            ),
        )
        count = self.rng.randint(1, most)
        return " ".join(self.rng.choices(kinds, weights=(6, 2, 3, 3, 2, 2, 1), k=1)[0]() for _ in range(count))

    def pair(self, most: int) -> tuple[int, int]:
        """Two summands from 0 to `most`; a pair is held out whole."""
        while True:
            a, b = self.rng.randint(0, most), self.rng.randint(0, most)
            if self._allowed(f"{a}+{b}"):
                return a, b

    def _listed(self, words: list[str]) -> str:
        while True:
            word = self.rng.choice(words)
            if self._allowed(word):
                return word

    def _allowed(self, word: str) -> bool:
        return held_out(word) == (self.split == "held-out")
