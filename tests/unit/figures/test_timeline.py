import os
from pathlib import Path

import pytest

from gpt_math_domains.figures.images import read_figure
from gpt_math_domains.figures.timeline import plot_timeline, read_jobs, timeline

HEADER = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time\n"


def benchmark(directory: Path, name: str, ended: int, seconds: str, memory: str = "100.5") -> None:
    path = directory / f"{name}.tsv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{HEADER}{seconds}\t0:00:00\t{memory}" + "\t1" * 7 + "\n")
    os.utime(path, (ended, ended))


def test_a_job_started_its_duration_before_its_file_was_written(tmp_path: Path) -> None:
    benchmark(tmp_path, "pretrain/data_1/model_2", ended=1_000_100, seconds="90.5")
    benchmark(tmp_path, "metrics/pretrain", ended=1_000_002, seconds="0.5", memory="NA")
    first, second = read_jobs(tmp_path)
    assert (first.name, first.kind, first.memory) == ("metrics/pretrain", "metrics", None)
    assert second.name == "pretrain/data_1/model_2"
    assert second.started.timestamp() == 1_000_100 - 90.5
    assert (second.seconds, second.memory) == (90.5, 100.5)


def test_a_job_at_a_point_of_a_grid_is_of_the_kind_of_others(tmp_path: Path) -> None:
    benchmark(tmp_path, "grid/data.digits~5/pretrain/data_1/model_2", ended=100, seconds="1")
    [job] = read_jobs(tmp_path)
    assert (job.name, job.kind) == ("grid/data.digits~5/pretrain/data_1/model_2", "pretrain")


def test_each_job_is_a_bar_from_its_start_as_long_as_it_took(tmp_path: Path) -> None:
    benchmark(tmp_path, "pretrain/a", ended=86_400, seconds="60")
    benchmark(tmp_path, "finetune/b", ended=86_410, seconds="5")
    plot_timeline(tmp_path, tmp_path / "page.html")
    figure = read_figure(tmp_path / "page.html")
    assert {(bar.name, bar.y[0], bar.base[0], bar.x[0]) for bar in figure.data} == {
        ("pretrain", "pretrain/a", "1970-01-01 23:59:00.000000", 60_000),
        ("finetune", "finetune/b", "1970-01-02 00:00:05.000000", 5_000),
    }
    assert figure.layout.yaxis.categoryarray == ("pretrain/a", "finetune/b")


def test_names_stand_above_their_bars_so_that_no_width_is_lost_to_them(tmp_path: Path) -> None:
    benchmark(tmp_path, "finetune/domain_1/data_1/model_2/random_frozen", ended=9, seconds="5")
    figure = timeline(read_jobs(tmp_path), "Jobs")
    assert figure.layout.yaxis.ticklabelposition == "inside top"
    assert not figure.layout.yaxis.automargin
    assert "min_width" not in (figure.layout.meta or {})


def test_without_jobs_there_is_an_empty_figure(tmp_path: Path) -> None:
    assert len(timeline(read_jobs(tmp_path), "Jobs").data) == 0


@pytest.mark.parametrize(
    "content",
    [
        "",
        "s\n",
        "name\tvalue\n1\t2\n",
        "s\nsoon\n",
        "s\ninf\n",
        "s\n1e300\n",
        "s\nnan\n",
        "s\n" + "9" * 200_000,  # more than a field of the csv module may have
    ],
)
def test_a_file_that_is_no_benchmark_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "job.tsv").write_text(content)
    with pytest.raises(ValueError, match=r"job.tsv: expected a benchmark file"):
        read_jobs(tmp_path)
