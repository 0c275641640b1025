# made_up.py
#     Recalls that nobody has published, for the benchmarks of machines without
#     recorded ones: those of test/sample/make_sample.py, with texts as long as
#     those of the real dataset.
#
# It must make the same bytes each time, and must not copy a real record: what
# is real are the lengths, measured over the 10,223 recalls of one day.  What a
# recall costs depends on them (values that are compressed or stored outside of
# their row, entries of the index of GTINs), so the benchmarks find the same
# times per row with these as with recorded ones.

import datetime
import json
import os
import sys

sys.path.append(os.path.join(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))), "sample"))

import make_sample              # noqa: E402

SEED = 20231231
FIRST_DAY = datetime.datetime(2021, 4, 1, 8, 0, 0)
MINUTES = 242                   # from one to the next
VOCABULARY = 4000

# Characters of a text that is there, at these shares of all texts, and the
# share of texts that are not there.  Recalls that came from the European system
# have lengths of their own, or no text at all.
SHARES = (0, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1)
LENGTHS = {
    "brand": (0, (1, 4, 6, 11, 15, 26, 42, 179)),
    "model": (0, (2, 8, 21, 32, 49, 115, 208, 250)),
    "pack": (0.26, (1, 4, 12, 18, 28, 66, 118, 250)),
    "info": (0.75, (1, 6, 25, 46, 81, 173, 349, 1446)),
    "shops": (0, (2, 5, 11, 22, 55, 147, 241, 250)),
    "motif": (0, (8, 20, 34, 65, 109, 202, 246, 250)),
    "advice": (0.68, (227, 237, 664, 664, 984, 1501, 1501, 2486)),
    "detail": (0.74, (1, 14, 39, 80, 142, 198, 200, 200)),
    "public": (0.8, (1, 25, 65, 98, 188, 240, 249, 250)),
    "products": (0.81, (99,) * 8),
    "sellers": (0.82, (104,) * 8),
    "poster": (0, (52, 54, 55, 55, 55, 56, 56, 56)),
    "page": (0, (51, 53, 54, 54, 54, 55, 55, 55)),
}
EUROPEAN = {
    "brand": (0, (2, 2, 4, 7, 9, 14, 22, 62)),
    "model": (0, (1, 15, 28, 43, 70, 132, 234, 347)),
    "info": (0.02, (1, 18, 29, 54, 101, 317, 790, 1622)),
    "motif": (0, (46, 86, 166, 216, 299, 472, 601, 1170)),
}
TITLE = 60                      # where the title of a model is cut
GROUPS = (1, 1, 1, 2, 3, 9, 20, 103)            # of what identifies a product
SAME_GTIN = 0.67                # share of groups that are lots of the first's
IMAGES = (1, 1, 1, 1, 1, 3, 5, 5)
IMAGE = 75                      # characters of a link to one
SYLLABLES = ("ba ce dé fo gu jà ke li mo nu pa re si to vu za cha pré tri blo"
             " ti on es ai le des la en ver que ier").split()


def length(chance, marks):
    """One of the lengths, as often as it is met."""
    share = chance.random()
    at = next(n for n in range(1, len(SHARES)) if share < SHARES[n])
    low, high = marks[at - 1], marks[at]
    part = (share - SHARES[at - 1]) / (SHARES[at] - SHARES[at - 1])
    return low + round((high - low) * part)


class Writer:
    """Texts of words, a few of which are in most of them."""

    def __init__(self, chance):
        self.chance = chance
        self.words = ["".join(chance.some(SYLLABLES, 4))
                      for _ in range(VOCABULARY)]

    def fit(self, text, size):
        """A text that begins with this one, and is so long."""
        text = text or ""
        while len(text) < size:
            at = int(self.chance.random() ** 3 * VOCABULARY)
            text += " " + self.words[at] if text else self.words[at]
        return text[:size].strip() or text[:1]

    def link(self, text, size):
        """The same of a link."""
        return text + "-" + self.chance.hexa(max(0, size - len(text) - 1))

    def base(self, number):
        """A recall before it takes the shape of the dataset."""
        chance = self.chance
        day = FIRST_DAY + datetime.timedelta(minutes=MINUTES * number)
        base = make_sample.make(chance, number, day)
        european = base["nature"] is None
        for name, (absent, marks) in (EUROPEAN if european
                                      else LENGTHS).items():
            if chance.random() < absent:
                base[name] = None
            elif name in ("products", "sellers", "poster", "page"):
                base[name] = self.link(
                    base[name] or make_sample.LINK + name, length(chance, marks))
            else:
                base[name] = self.fit(base[name], length(chance, marks))
        base["title"] = base["model"][:TITLE].strip()
        base["images"] = tuple(
            self.link(make_sample.LINK + "image/", IMAGE)
            for _ in range(0 if european and chance.random() < 0.85
                           else 1 if european else length(chance, IMAGES)))
        first, *others = make_sample.products(
            chance, day, 1 if european else length(chance, GROUPS)) or [None]
        base["identification"] = first and [first] + [
            (first[0] if chance.random() < SAME_GTIN else group[0], *group[1:])
            for group in others]
        return base


def write(target, count):
    """A dataset of so many recalls, as the API gives them."""
    writer = Writer(make_sample.Chance(SEED))
    with open(target, "w", encoding="utf-8", newline="\n") as file:
        for number in range(count):
            record = make_sample.v2(writer.base(number))
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
