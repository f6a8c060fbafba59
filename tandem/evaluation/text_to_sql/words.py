"""The words that schemas and questions are made of.

Every word is meant to be one token of the shipped tokenizer: a small model should spend its depth on structure, not on
spelling. The pools of tables, columns and values are disjoint, so that a word says what it is.
"""

from __future__ import annotations


def _pool(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _pairs(text: str) -> tuple[tuple[str, str], ...]:
    return tuple((singular, plural) for singular, plural in (pair.split("/") for pair in text.split()))


TABLES: tuple[tuple[str, str], ...] = _pairs(
    "player/players team/teams author/authors book/books doctor/doctors patient/patients teacher/teachers "
    "course/courses student/students pilot/pilots plane/planes ship/ships port/ports store/stores item/items "
    "order/orders client/clients singer/singers album/albums song/songs actor/actors film/films hotel/hotels "
    "guest/guests driver/drivers car/cars farm/farms animal/animals museum/museums artist/artists bank/banks "
    "account/accounts school/schools lab/labs project/projects worker/workers office/offices engine/engines "
    "train/trains station/stations river/rivers bridge/bridges coach/coaches game/games event/events "
    "ticket/tickets lake/lakes garden/gardens plant/plants chef/chefs recipe/recipes cafe/cafes club/clubs "
    "member/members judge/judges trial/trials lawyer/lawyers paper/papers editor/editors journal/journals"
)
"""(singular, plural) of every table name; the plural names the table, the singular its key."""

LABELS: tuple[str, ...] = ("name", "title", "label", "code", "email", "nickname", "address", "phone")
"""Columns whose values are all different within a table."""

NUMBERS: tuple[str, ...] = _pool(
    "age price weight height salary rating score budget length width depth distance speed capacity duration cost "
    "revenue profit volume power level rank area bonus tax fee debt income usage size"
)
"""Columns of whole numbers from 1 to 99."""

CATEGORIES: dict[str, tuple[str, ...]] = {
    column: _pool(values)
    for column, values in {
        "color": "red blue green black white yellow",
        "city": "paris london rome oslo cairo lima",
        "country": "france spain japan brazil india kenya",
        "status": "active closed pending frozen new old",
        "language": "french german latin greek arabic hindi",
        "season": "spring summer autumn winter",
        "day": "monday tuesday friday sunday",
        "material": "wood steel glass stone paper clay",
        "flavor": "sweet sour salty bitter spicy",
        "gender": "male female other",
        "genre": "rock jazz opera folk metal blues",
        "shape": "round square flat oval long",
        "grade": "gold silver bronze iron",
        "region": "north south east west center",
        "type": "basic plus premium small medium large",
        "sport": "tennis soccer rugby golf chess hockey",
        "weather": "rain snow wind fog sun",
        "method": "cash card check wire",
        "month": "january march april june july august",
        "style": "modern classic gothic baroque rustic",
    }.items()
}
"""Columns of few values, and those values."""

THRESHOLDS: tuple[int, ...] = tuple(range(10, 100, 5))
"""What questions compare a number column with."""
