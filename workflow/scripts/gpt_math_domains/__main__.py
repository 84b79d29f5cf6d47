"""The command `gpt-math-domains`, also `python -m gpt_math_domains`: what to do with results."""

import argparse
import json
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeAlias

from gpt_math_domains.jobs.logs import flush, say

# A subcommand imports what it needs itself: torch and Snakemake take seconds.


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a subcommand.

    Returns:
        The exit status: 2 where something is wrong, as argparse has it, and 141 where what is told
        goes into a pipe that nobody reads any more, as a shell has it.
    """
    parser = argparse.ArgumentParser(
        prog="gpt-math-domains", description="What to do with the results of a study."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (_add_ask, _add_cards, _add_compare, _add_events, _add_open, _add_tell, _add_watch):
        add(commands)
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["ask"]:
        # For argparse, an equation that begins with a minus is an option, but not behind a blank.
        given = [re.sub("^-(?!-?[a-z]|-$)", " -", argument) for argument in given]
    try:
        told = parser.parse_args(given)
        run: Callable[[argparse.Namespace], int] = told.run
        status = run(told)
        print(end="", flush=True)
        return status
    except BrokenPipeError:
        return 141
    except (ValueError, OSError, OverflowError) as error:
        say(f"error: {error}", sys.stderr)
        return 2
    finally:
        flush()


Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def _add_ask(commands: Commands) -> None:
    about = "ask the models of a finished run"
    ask = commands.add_parser("ask", help=about, description=f"{about.capitalize()}.")
    ask.add_argument("directory", type=Path, help="such as results/quick/pretrain/data_1/model_2")
    ask.add_argument(
        "equations", nargs="*", help="such as '3 + 4 =(m) 5' or 2-5=; else lines of standard input"
    )
    ask.add_argument("--json", action="store_true", help="all that is known, as JSON")
    ask.set_defaults(run=_ask)


def _ask(told: argparse.Namespace) -> int:
    from gpt_math_domains.training.ask import ask, describe

    lines = [line.strip() for line in told.equations or sys.stdin]
    equations = lines if told.equations else list(filter(None, lines))
    if not equations:
        raise ValueError("no equation: give some, as arguments or as lines of standard input")
    found = ask(told.directory, equations)
    if told.json:
        print(json.dumps(found, indent=2, ensure_ascii=False))
    else:
        print("\n".join(map(describe, found)))
    return 0


def _add_cards(commands: Commands) -> None:
    about = "write a README.md into each checkpoint and data version of a study"
    cards = commands.add_parser("cards", help=about, description=f"{about.capitalize()}.")
    cards.add_argument("results", type=Path, help="of the study, such as results/quick")
    cards.set_defaults(run=_cards)


def _cards(told: argparse.Namespace) -> int:
    from gpt_math_domains.results.cards import write_cards

    print(f"wrote {len(write_cards(told.results))} cards below {told.results}")
    return 0


def _add_compare(commands: Commands) -> None:
    about = "tell what differs between two studies; exit status 0 if nothing does, 1 if something"
    compare = commands.add_parser("compare", help=about, description=f"{about.capitalize()}.")
    compare.add_argument("first", type=Path, help="a directory of results, such as results/quick")
    compare.add_argument("second", type=Path, help="another one")
    compare.add_argument("--page", type=Path, help="an HTML file to write, with learning curves")
    compare.set_defaults(run=_compare)


def _compare(told: argparse.Namespace) -> int:
    from gpt_math_domains.results.comparison import compare_studies, describe_comparison

    comparison = compare_studies(told.first, told.second)
    if told.page:
        from gpt_math_domains.pages.comparison import write_comparison

        write_comparison(comparison, told.page)
    print(describe_comparison(comparison))
    return 0 if comparison.is_equal else 1


def _add_events(commands: Commands) -> None:
    about = "write the metrics of a study as event files, for TensorBoard and other trackers"
    events = commands.add_parser("events", help=about, description=f"{about.capitalize()}.")
    events.add_argument("results", type=Path, help="of the study, such as results/quick")
    events.add_argument("directory", type=Path, help="a new directory for the event files")
    events.set_defaults(run=_events)


def _events(told: argparse.Namespace) -> int:
    from gpt_math_domains.results.events import write_events

    written = write_events(told.results, told.directory)
    print(f"wrote the metrics of {len(written)} seeds: tensorboard --logdir {told.directory}")
    return 0


CONFIGFILES = "as after snakemake's --configfile"


def _add_open(commands: Commands) -> None:
    about = "open the page of a finished study in a browser, or say where it is"
    parser = commands.add_parser("open", help=about, description=f"{about.capitalize()}.")
    parser.add_argument("configfile", nargs="*", help=CONFIGFILES)
    parser.set_defaults(run=_open)


def _open(told: argparse.Namespace) -> int:
    import webbrowser

    from gpt_math_domains.results.headline import page_of
    from gpt_math_domains.study.layers import read_study

    page = page_of(read_study(told.configfile).pathvars.results)
    shown = webbrowser.open(page.resolve().as_uri())
    print(f"{page} {'is shown' if shown else 'is the page; no browser was found here'}")
    return 0


def _add_tell(commands: Commands) -> None:
    about = "tell in short what a finished study found, and where"
    tell = commands.add_parser("tell", help=about, description=f"{about.capitalize()}.")
    tell.add_argument("configfile", nargs="*", help=CONFIGFILES)
    tell.set_defaults(run=_tell)


def _tell(told: argparse.Namespace) -> int:
    from textwrap import fill

    from gpt_math_domains.results.headline import page_of, verdict
    from gpt_math_domains.study.layers import read_study

    results = read_study(told.configfile).pathvars.results
    page = page_of(results)
    for sentence in verdict(results):
        print(fill(sentence, width=88, subsequent_indent="  "))
    configured = f" CONFIG={shlex.quote(' '.join(told.configfile))}" if told.configfile else ""
    print(f"\nThe page: {page}\nNext: make open{configured}")
    return 0


def _add_watch(commands: Commands) -> None:
    about = "show a study in a browser while it runs"
    watch = commands.add_parser("watch", help=about, description=f"{about.capitalize()}.")
    watch.add_argument("configfile", nargs="*", help=CONFIGFILES)
    watch.add_argument("--port", type=int, default=8000, help="0 takes any; default 8000")
    watch.set_defaults(run=_watch)


def _watch(told: argparse.Namespace) -> int:
    from gpt_math_domains.pages.watch import watch

    watch(told.configfile, told.port)
    return 0


if __name__ == "__main__":
    sys.exit(main())
