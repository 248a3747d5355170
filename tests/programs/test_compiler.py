"""A compiler: archives, temporary files, a library and a program mapped and executed."""

from __future__ import annotations

from tests.support.places import Place
from tests.support.proc import run

LIBRARY = "int answer(void) { return 42; }\n"
MAIN = """
#include <stdio.h>
int answer(void);
static char filler[300000] = {1};
int main(void) { printf("%d %zu\\n", answer() + filler[0], sizeof filler); return 0; }
"""
STEPS = (
    "gcc -fPIC -c -o answer.o answer.c",
    "ar rcs libstatic.a answer.o",
    "gcc -shared -o libanswer.so answer.o",
    "gcc -o static main.c libstatic.a",
    "gcc -o dynamic main.c -L. -lanswer -Wl,-rpath,$ORIGIN",
)


def test_program_compiles_and_runs(place: Place) -> None:
    (place.path / "answer.c").write_text(LIBRARY)
    (place.path / "main.c").write_text(MAIN)
    for step in STEPS:
        run(step.split(), cwd=place.path)
    assert run([place.path / "static"]).stdout == "43 300000\n"
    place.remount()
    # From the tiers now; the program is larger than a head.
    assert (place.path / "static").stat().st_size > 300_000
    assert run([place.path / "static"]).stdout == "43 300000\n"
    assert run([place.path / "dynamic"]).stdout == "43 300000\n"
