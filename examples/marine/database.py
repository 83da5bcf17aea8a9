"""Make the example database: vessels, policies and claims of an invented marine insurer.

The same rows come out every time. Every ship, owner and loss is invented: the IMO numbers have their check
digit (IMO Resolution A.1117(30)), but begin with a 4, as no ship's does. It must not need anything beyond
the standard library.

    python -m examples.marine.database marine.db
"""

from __future__ import annotations

import os
import random
import sqlite3
import sys
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

SEED = 1692  # the year in which Lloyd's List first appeared
VESSELS, POLICIES, CLAIMS = 120, 260, 140
TODAY = date(2026, 6, 30)  # the day the books were closed: what is in force is told from here

SCHEMA = """
CREATE TABLE vessels (
    imo INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, type TEXT NOT NULL, flag TEXT NOT NULL,
    built INTEGER NOT NULL, gross_tonnage INTEGER NOT NULL, class_society TEXT NOT NULL, owner TEXT NOT NULL
);
CREATE TABLE policies (
    number TEXT PRIMARY KEY, imo INTEGER NOT NULL REFERENCES vessels (imo), cover TEXT NOT NULL,
    jurisdiction TEXT NOT NULL, currency TEXT NOT NULL, sum_insured INTEGER NOT NULL, premium INTEGER NOT NULL,
    deductible INTEGER NOT NULL, inception TEXT NOT NULL, expiry TEXT NOT NULL, status TEXT NOT NULL
);
CREATE TABLE claims (
    number TEXT PRIMARY KEY, policy TEXT NOT NULL REFERENCES policies (number), loss_date TEXT NOT NULL,
    place TEXT NOT NULL, cause TEXT NOT NULL, reserve INTEGER NOT NULL, paid INTEGER NOT NULL, status TEXT NOT NULL
);
CREATE INDEX policies_by_vessel ON policies (imo);
CREATE INDEX claims_by_policy ON claims (policy);
"""

Row = tuple[int | str, ...]

# Type of ship: smallest and largest gross tonnage, and value in dollars for each ton of it when new.
TYPES = {
    "bulk carrier": (19_000, 95_000, 820),
    "container ship": (9_000, 190_000, 1_050),
    "crude oil tanker": (42_000, 165_000, 900),
    "product tanker": (11_000, 45_000, 1_300),
    "general cargo": (2_400, 14_000, 1_500),
    "ro-ro": (12_000, 72_000, 1_400),
    "LNG carrier": (95_000, 128_000, 1_900),
    "offshore supply": (1_200, 6_500, 7_500),
    "tug": (180, 900, 14_000),
}
FLAGS = [
    "Panama",
    "Liberia",
    "Marshall Islands",
    "Malta",
    "Cyprus",
    "Greece",
    "Norway",
    "Singapore",
    "Bahamas",
]
SOCIETIES = ["DNV", "Lloyd's Register", "Bureau Veritas", "ABS", "ClassNK", "RINA"]
FIRST = [
    "Amber",
    "Boreal",
    "Cape",
    "Delta",
    "Ever",
    "Fjord",
    "Golden",
    "Harbour",
    "Iron",
    "Jade",
    "Kestrel",
    "Luna",
]
SECOND = [
    "Albatross",
    "Breeze",
    "Crest",
    "Dawn",
    "Endeavour",
    "Falcon",
    "Gull",
    "Horizon",
    "Merchant",
    "Petrel",
]
OWNERS = ["Aldermoor Shipping", "Brightwater Lines", "Castellan Tankers", "Dunmore Bulk", "Eastreach Marine",
          "Farrow & Sons", "Grenholm Rederi", "Halcyon Navigation"]  # fmt: skip
# Cover: share of the ship's value insured, premium in thousandths of the sum insured.
COVERS = {
    "hull and machinery": (1.0, 6.5),
    "increased value": (0.2, 4.0),
    "war risks": (1.0, 0.9),
    "loss of hire": (0.06, 21.0),
}
JURISDICTIONS = {"GB": "GBP", "NO": "USD", "SG": "USD", "DE": "EUR"}
CAUSES = {
    "machinery damage": (30, 0.012),
    "contact with quay": (20, 0.006),
    "heavy weather": (16, 0.010),
    "collision": (12, 0.035),
    "grounding": (10, 0.045),
    "fire in engine room": (7, 0.080),
    "piracy": (3, 0.050),
    "foundering": (2, 1.0),
}  # cause: weight, mean share of the sum insured
PLACES = ["Rotterdam", "Singapore Strait", "Gulf of Aden", "Dover Strait", "Santos", "Houston Ship Channel",
          "Port Said", "Busan", "North Atlantic", "Bay of Bengal", "Skagerrak", "Durban"]  # fmt: skip


def imo_number(serial: int) -> int:
    """Give a seven-digit IMO number: six digits of `serial` and the check digit they call for."""
    digits = [int(digit) for digit in f"{serial:06}"]
    check = sum(digit * weight for digit, weight in zip(digits, range(7, 1, -1), strict=True)) % 10
    return serial * 10 + check


def vessels(dice: random.Random) -> Iterator[Row]:
    """Yield rows of the table of that name."""
    names = [f"{first} {second}" for first in FIRST for second in SECOND]
    dice.shuffle(names)
    serials = sorted(dice.sample(range(400_000, 499_999), VESSELS))
    for serial, name in zip(serials, names, strict=False):
        kind = dice.choice(list(TYPES))
        low, high, _ = TYPES[kind]
        tonnage = round(low * (high / low) ** dice.random(), -1 if high < 10_000 else -2)
        yield (imo_number(serial), name, kind, dice.choice(FLAGS), dice.randint(1998, 2025), int(tonnage),
               dice.choice(SOCIETIES), dice.choice(OWNERS))  # fmt: skip


def policies(dice: random.Random, ships: list[Row]) -> Iterator[Row]:
    """Yield rows of the table of that name: hull and machinery for each ship, then further covers."""
    wanted = [(ship, "hull and machinery") for ship in ships]
    others = [(ship, cover) for ship in ships for cover in list(COVERS)[1:]]
    wanted += dice.sample(others, POLICIES - len(wanted))
    for serial, (ship, cover) in enumerate(wanted, start=1):
        imo, _, kind, _, built, tonnage, _, _ = ship
        age = max(0, TODAY.year - int(built))
        value = int(tonnage) * TYPES[str(kind)][2] * max(0.12, 1 - 0.038 * age)
        share, rate = COVERS[cover]
        insured = int(round(value * share, -5)) or 100_000
        premium = int(round(insured * rate / 1000 * (1 + age / 60) * dice.uniform(0.85, 1.2), -2))
        inception = TODAY - timedelta(days=dice.randint(0, 540))
        expiry = inception + timedelta(days=365)
        where = dice.choice(list(JURISDICTIONS))
        number = f"{where}-{inception.year}-{serial:05}"
        status = "in force" if expiry > TODAY else "expired"
        deductible = int(round(insured * dice.choice([0.0025, 0.005, 0.01]), -3))
        yield (number, imo, cover, where, JURISDICTIONS[where], insured, premium, deductible,
               inception.isoformat(), expiry.isoformat(), status)  # fmt: skip


def claims(dice: random.Random, covers: list[Row]) -> Iterator[Row]:
    """Yield rows of the table of that name: losses within the year of a policy, the large ones rare."""
    weights = [weight for weight, _ in CAUSES.values()]
    for serial in range(1, CLAIMS + 1):
        policy = dice.choice(covers)
        insured, deductible = int(policy[5]), int(policy[7])
        cause = dice.choices(list(CAUSES), weights)[0]
        mean = CAUSES[cause][1]
        loss = insured if mean >= 1 else min(insured, insured * dice.expovariate(1 / mean))
        cost = max(0, int(round(loss, -3)) - deductible)
        start = date.fromisoformat(str(policy[8]))
        day = start + timedelta(days=dice.randint(0, min(364, (TODAY - start).days)))
        status = dice.choices(["open", "paid", "declined"], [40, 50, 10])[0] if cost else "below deductible"
        paid = {"paid": cost, "open": int(round(cost * dice.choice([0, 0, 0.3]), -3))}.get(status, 0)
        reserve = cost - paid if status == "open" else 0
        yield (
            f"C-{serial:05}",
            policy[0],
            day.isoformat(),
            dice.choice(PLACES),
            cause,
            reserve,
            paid,
            status,
        )


def write(path: Path) -> None:
    """Write the database to `path`. What stands there is replaced whole, or not at all."""
    dice = random.Random(SEED)  # noqa: S311 -- the same rows each time is the point; nothing here is a secret
    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(path.name + ".new")
    scratch.unlink(missing_ok=True)
    ships = list(vessels(dice))
    covers = list(policies(dice, ships))
    connection = sqlite3.connect(scratch)
    try:
        connection.executescript(SCHEMA)
        for table, rows in (("vessels", ships), ("policies", covers), ("claims", list(claims(dice, covers)))):
            marks = ", ".join("?" * len(rows[0]))
            connection.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)  # noqa: S608 -- our own words
        connection.commit()
    finally:
        connection.close()
    os.replace(scratch, path)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("usage: python -m examples.marine.database FILE")
    write(Path(sys.argv[1]))
