from pathlib import Path

import pytest
import yaml

from gpt_math_domains.pages.bundle import bundle_report


def test_files_are_copied_to_their_places_beside_the_configuration(tmp_path: Path) -> None:
    figure = tmp_path / "results" / "plots" / "größe.html"
    figure.parent.mkdir(parents=True)
    figure.write_text("a figure")

    bundle_report([figure], tmp_path / "results", {"data": {4: {"modulo": None}}}, tmp_path / "out")

    assert (tmp_path / "out" / "plots" / "größe.html").read_text() == "a figure"
    told = yaml.safe_load((tmp_path / "out" / "config.yaml").read_text())
    assert told == {"data": {4: {"modulo": None}}}


def test_a_file_from_elsewhere_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "stray.html").write_text("")
    with pytest.raises(ValueError, match=r"stray\.html"):
        bundle_report([tmp_path / "stray.html"], tmp_path / "results", {}, tmp_path / "out")
