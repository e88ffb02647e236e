"""The harness of the benchmarks: its arithmetic, its turns, its tables, and that what it compares is the same."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from benchmarks import compiled, gpu, machine, quality, roofline, run, table, throughput, time_to_elbo
from benchmarks.figures import percentile, ratios, seconds_to, significant, summary
from benchmarks.plan import PLANS, Plan, Unequal, environment
from benchmarks.session import SETTLING_STEPS, WARM_STEPS, Line, Pacer, Subject, SubjectFailed, take_turns
from benchmarks.study import BATCH, PARAMETERS, torch_weights
from benchmarks.subjects import eager
from hypothesis import given
from hypothesis import strategies as st

import morphospace as ms

# ---------------------------------------------------------------- figures


def test_summary_is_the_median_and_the_ends():
    assert summary([3.0, 1.0, 8.0]) == {"median": 3.0, "least": 1.0, "most": 8.0}
    assert summary([2.0, 4.0])["median"] == 3.0
    with pytest.raises(ValueError, match="no values"):
        summary([])


def test_ratios_are_taken_within_a_round():
    """A round in which the whole machine was half as fast leaves the ratio as it was."""
    assert ratios([200.0, 100.0, 210.0], to=[100.0, 50.0, 100.0]) == {
        "median": 2.0,
        "least": 2.0,
        "most": 2.1,
    }


def test_percentile_is_a_value_that_so_many_do_not_exceed():
    calls = [float(i) for i in range(1, 21)]
    assert percentile(calls, 0.5) == 10
    assert percentile(calls, 0.95) == 19
    assert percentile([7.0], 0.95) == 7


@pytest.mark.parametrize(("value", "kept"), [(1234567.0, 1234600.0), (0.000123456, 0.00012346), (0.0, 0.0)])
def test_significant_digits(value, kept):
    assert significant(value) == kept


def points(*pairs: tuple[float, float]) -> list[dict[str, float]]:
    return [{"seconds": s, "epoch": i + 1, "neg_elbo": n} for i, (s, n) in enumerate(pairs)]


def test_a_level_between_two_points_is_passed_on_the_line_between_them():
    curve = points((10, 270), (20, 260), (30, 258))
    assert seconds_to(262, curve) == pytest.approx(18)
    assert seconds_to(262, curve, "epoch") == pytest.approx(1.8)
    assert seconds_to(260, curve) == pytest.approx(20)


def test_a_level_counts_when_it_is_first_passed():
    assert seconds_to(260, points((10, 270), (20, 250), (30, 265), (40, 255))) == pytest.approx(15)


def test_a_level_that_is_not_reached_has_no_time():
    assert seconds_to(257.5, points((10, 270), (20, 257.6))) is None
    assert seconds_to(257.5, []) is None


def test_nothing_is_made_up_before_the_first_point():
    assert seconds_to(262, points((10, 255), (20, 250))) == 10


def test_no_line_leads_to_a_point_of_another_encoder():
    curve = points((10, 264), (20, 260), (30, 250))
    curve[2]["anew"] = True
    assert seconds_to(262, curve) == 15
    assert seconds_to(255, curve) == 30


@given(st.floats(200, 260), st.floats(0.1, 50), st.floats(0.01, 0.99))
def test_on_a_straight_curve_the_time_is_exact(end, fall, part):
    curve = points((7, end + fall), (19, end))
    assert seconds_to(end + fall * (1 - part), curve) == pytest.approx(7 + 12 * part, rel=1e-6)


# ---------------------------------------------------------------- turns


def test_turns_alternate_and_turn_round():
    order = []
    found = take_turns("AB", 3, lambda name, i: order.append(name) or {"round": i})
    assert "".join(order) == "ABBAAB"
    assert found["B"] == [{"round": 0}, {"round": 1}, {"round": 2}]


class Steps:
    """A training loop on a clock of its own: each step takes a second, and each wait for a turn a hundred."""

    def __init__(self, *requests: dict[str, object]) -> None:
        self.now = 0.0
        self.said = io.StringIO()
        asked = io.StringIO("".join(json.dumps(r) + "\n" for r in requests))
        steps = self

        class SlowLine(Line):
            def receive(self) -> dict[str, object]:
                steps.now += 100
                return super().receive()

        line = SlowLine(asked, self.said)
        self.pacer = Pacer(
            line, lambda: {"told": 1}, {"memory": lambda: {"mib": 5.0}}, clock=lambda: self.now
        )

    def _step_for_ever(self) -> None:
        while True:
            self.now += 1
            self.pacer.step_done()

    def go_on(self) -> list[dict[str, object]]:
        """Step until no request is left; what was said."""
        with pytest.raises(SystemExit):
            self._step_for_ever()
        return [json.loads(text) for text in self.said.getvalue().splitlines()]


def test_a_turn_counts_its_own_steps_and_seconds_and_no_waiting():
    steps = Steps({"seconds": 3}, {"do": "memory"}, {"seconds": 4.5})
    first, turn, memory, second = steps.go_on()
    assert first == {"first_steps": [float(i + 1) for i in range(WARM_STEPS)], "told": 1}
    assert turn == {"steps": 3, "seconds": 3.0}
    assert memory == {"mib": 5.0}
    assert second == {"steps": 5, "seconds": 5.0}  # as many whole steps as fill the time
    assert steps.now == WARM_STEPS + 4 * 100 + 2 * SETTLING_STEPS + 3 + 5


def test_a_subject_that_fails_is_quoted():
    with (
        Subject("pytorch", "train", {"source": {"source": "nowhere"}}, environment()) as subject,
        pytest.raises(SubjectFailed, match="there is no set or path 'nowhere'"),
    ):
        subject.answer()


def test_nobody_gets_a_spin_count_of_his_own(monkeypatch):
    monkeypatch.setenv("GOMP_SPINCOUNT", "123")
    assert "GOMP_SPINCOUNT" not in environment()


# ---------------------------------------------------------------- the same for all


def test_the_plain_network_is_the_one_of_the_recipe(monkeypatch):
    """Equal counts, equal names, and equal outputs, turned round, with the weights that all subjects are given."""
    encoder, decoder = eager.Encoder(), eager.Decoder()
    assert eager.parameters(encoder, decoder) == PARAMETERS
    eager.load_weights(encoder, decoder)
    images = ms.load("garments", count=40)
    model = ms.recipes.reference(images.spec).build().model
    x = eager.unit_images({"source": "garments", "count": 40})
    with torch.no_grad():
        for half, network in (("encoder", encoder), ("decoder", decoder)):
            state = {name: torch.tensor(value) for name, value in torch_weights()[half].items()}
            getattr(model, half).network.load_state_dict(state)
            assert {k: v.shape for k, v in network.state_dict().items()} == {
                k: v.shape for k, v in state.items()
            }
        ours = model.encoder.network(x)
        torch.testing.assert_close(torch.cat(encoder(x.flip(2, 3)), 1), ours, atol=1e-4, rtol=1e-4)
        z = ours[:, :2]
        logits = model.decoder.network(z)
        torch.testing.assert_close(decoder(z).flip(2, 3), logits, atol=1e-4, rtol=1e-4)
        assert logits.std() > 0.5  # weights that matter
        assert (decoder(z) - logits).abs().max() > 0.1  # and so does being turned round


def test_operations_are_counted_as_by_hand():
    """Three products for each weight and place it is used at; the pixels need no gradient."""
    conv1 = 15 * 15 * 32 * 14 * 14
    others = [10 * 10 * 64 * 6 * 6 * 32, 6400 * 168, 168 * 16, 16 * 4, 2 * 6272]
    transposed = [7 * 7 * 128 * 128 * 9, 14 * 14 * 128 * 32 * 9, 28 * 28 * 32 * 9]
    products = 3 * (sum(others) + sum(transposed)) + 2 * conv1
    assert eager.flops_per_image() == pytest.approx(2 * products, rel=1e-9)


def told(**changes: object) -> dict[str, object]:
    return {"parameters": PARAMETERS, "batch": BATCH, "loss": 700.0, "how": "float32", **changes}


def test_unequal_subjects_are_refused():
    throughput.compare(
        {"pytorch": told(), "keras": told(loss=700.05), "ours": told(loss=703, how="bfloat16")}
    )
    with pytest.raises(Unequal, match=r"'keras' finds a loss of 700\.5000"):
        throughput.compare({"pytorch": told(), "keras": told(loss=700.5)})
    with pytest.raises(Unequal, match="'ours' finds a loss of nan"):
        throughput.compare({"pytorch": told(), "ours": told(loss=float("nan"), how="bfloat16")})
    with pytest.raises(Unequal, match="'ours' takes 64 images"):
        throughput.compare({"pytorch": told(), "ours": told(batch=64)})
    with pytest.raises(Unequal, match="'keras' learns"):
        throughput.compare({"pytorch": told(), "keras": told(parameters={"encoder": 1, "decoder": 2})})


# ---------------------------------------------------------------- curves


def test_a_subject_with_several_runs_has_a_spread_and_one_that_missed_a_level_no_figure():
    runs = [
        {"subject": "morphospace:vae", "points": points((10, 270), (20, 250))},
        {"subject": "keras", "points": points((100, 270), (200, 261))},
        {"subject": "morphospace:vae", "points": points((10, 270), (30, 250))},
    ]
    found = time_to_elbo.summed_up(runs)
    assert found["morphospace:vae"]["seconds_to"]["260"] == {"median": 17.5, "least": 15.0, "most": 20.0}
    assert found["morphospace:vae"]["runs"] == 2
    assert found["keras"]["seconds_to"]["262"]["median"] == pytest.approx(188.89)
    assert found["keras"]["seconds_to"]["260"] is None
    assert found["keras"]["end"] == {"epochs": 2, "seconds": summary([200]), "neg_elbo": summary([261])}


def test_an_estimate_is_epochs_times_seconds_now():
    end = {"epochs": 30, "seconds": summary([1900]), "neg_elbo": summary([257.4])}
    kept = {"runs": 1, "epochs_to": {"262": summary([4.0]), "257.5": None}, "seconds_to": {}, "end": end}
    full = {"date": "then", "runs": [{"images": 60_000}], "subjects": {"keras": kept, "keras@4": kept}}
    now = {"subjects": {"keras": {"images_per_second": summary([1000.0])}}}
    found = time_to_elbo.estimate(full, now)
    assert found["estimated_from"] == "then"
    assert found["subjects"]["keras"]["seconds_to"] == {"262": summary([240.0]), "257.5": None}
    assert found["subjects"]["keras"]["end"]["seconds"] == {"median": 1800.0}
    assert found["subjects"]["keras@4"] == found["subjects"]["keras"]
    assert time_to_elbo.estimate({}, now)["subjects"] == {}


# ---------------------------------------------------------------- the tables


@pytest.mark.parametrize("path", table.TEXTS, ids=lambda path: path.name)
def test_the_texts_say_what_the_results_hold(path):
    text = path.read_text(encoding="utf-8")
    records = table.read(table.RESULTS)
    assert table.written(text, table.TEXTS[path](records)) == text, "run: python -m benchmarks.table"


def test_tables_go_between_their_marks_and_nowhere_else():
    text = f"before\n{table.BEGIN}\nold\n{table.END}\nafter"
    once = table.written(text, r"new \1")
    assert once == f"before\n{table.BEGIN}\n\nnew \\1\n\n{table.END}\nafter"
    assert table.written(once, r"new \1") == once
    for broken in ("no marks", text + text, f"{table.END} {table.BEGIN}"):
        with pytest.raises(ValueError, match="expected one"):
            table.written(broken, "new")


@pytest.mark.parametrize(
    ("value", "shown"),
    [(1234.5, "1,234"), (99.96, "100.0"), (12.345, "12.3"), (1.2345, "1.23"), (0.12345, "0.123")],
)
def test_numbers_as_people_read_them(value, shown):
    assert table.number(value) == shown


def test_a_spread_is_told_only_where_there_is_one():
    assert table.spread({"median": 5.0, "least": 4.0, "most": 6.5}) == "5.00 (4.00 to 6.50)"
    assert table.spread({"median": 5.0, "least": 5.0, "most": 5.0}) == "5.00"
    assert table.spread(None) == "not reached"


def records(
    times: float = 2.0, fraction: float = 0.7, ours: float | None = 50.0, keras: float | None = 1900.0
) -> table.Records:
    """Records of a full run, as far as the summary reads them."""
    stamp = {"plan": "full", "rounds": 3, **machine.describe()}
    stamp["versions"] = dict.fromkeys(("python", "torch", "keras", "tensorflow_cpu", "pythae"), "9")
    subject = {"parameters": PARAMETERS, "loss": 700.0, "images_per_second": summary([1000.0])}
    end = {"epochs": 30, "seconds": summary([1950.0]), "neg_elbo": summary([257.6])}

    def levels(value: float | None) -> dict[str, object]:
        return {"runs": 1, "seconds_to": {"257.5": None if value is None else summary([value])}, "end": end}

    mine = {**subject, "times_keras": summary([times]), "fraction_of_peak": {"bfloat16": fraction}}
    return {
        "throughput": {**stamp, "subjects": {"keras": subject, "morphospace:reference": mine}},
        "time-to-elbo": {
            **stamp,
            "runs": [
                {"date": "2026-01-02 03:04 UTC", "commit": "abc"},
                {"date": "2026-01-03 03:04 UTC", "commit": "abc"},
            ],
            "subjects": {
                "keras": levels(keras),
                "morphospace:vae": levels(ours),
            },
        },
    }


def reached(found: table.Records) -> list[str]:
    """The last column of the bars."""
    return [line.split("|")[-2].strip() for line in table.bars(found).splitlines()[2:]]


def test_bars_that_are_reached_or_not():
    assert reached(records())[:3] == ["yes", "yes", "yes"]
    assert reached(records(times=1.79, fraction=0.64, ours=64))[:3] == ["**no**", "**no**", "**no**"]
    assert reached(records(ours=66, keras=19_000.0))[2] == "**no**"
    assert reached(records(ours=None))[2] == "**no**"


def test_half_an_hour_counts_only_with_the_default_settings():
    def line(neg_elbo: float, **changes: str) -> dict[str, object]:
        return {
            "changes": {"minutes": "30", **changes},
            "results": {"test": {"neg_elbo": neg_elbo, "draws": 10}},
        }

    row = [bar.what.startswith("default recipe given 30") for bar in table.BARS].index(True)
    other = [line(250, size="large"), {"changes": {"epochs": "8"}, "results": {}}]
    assert reached({"quality": {"lines": other}})[row] == ""
    assert reached({"quality": {"lines": [*other, line(252.9, seed="0")]}})[row] == "yes"
    assert reached({"quality": {"lines": [line(253.1)]}})[row] == "**no**"


def test_how_far_half_an_hour_stays_above_the_exact_figure():
    test = {"neg_elbo": 251.0, "draws": 10, "nll_exact": 248.0, "neg_elbo_refined": 248.6}
    row = [bar.what for bar in table.BARS].index("the same above the exact −log p(x), nats")

    def rows(**more: object) -> list[str]:
        line = {"changes": {"minutes": "30"}, "results": {"test": {**test, **more}}}
        return reached({"quality": {"lines": [line]}})[row : row + 2]

    assert rows() == ["**no**", "yes"]
    assert rows(nll_exact=249.5) == ["yes", "yes"]
    del test["neg_elbo_refined"]
    assert rows() == ["**no**", ""]


def test_a_trial_of_the_gpu_harness_is_no_result():
    rows = [i for i, bar in enumerate(table.BARS) if bar.what.startswith("one GPU")]
    record = {
        "tiny": False,
        "device": "GPU",
        "default": {"warm": {"seconds_to": {"257.5": 4.0}}},
        "reference_epoch": {"as chosen": {"seconds": summary([0.2])}},
    }
    assert [reached({"gpu": record})[i] for i in rows] == ["yes", "**no**"]
    assert [reached({"gpu": {**record, "tiny": True}})[i] for i in rows] == ["", ""]


def test_a_level_that_keras_never_reached_is_compared_with_all_its_time():
    assert "less than 1/39" in table.bars(records(keras=None))
    assert "not reached" in table.summary_of(records(keras=None))


def test_what_was_not_measured_says_so():
    assert reached({}) == [""] * len(table.BARS)
    assert table.bars({}).count("not measured") == len(table.BARS)
    assert "not measured yet" in table.details_of({})


def test_every_table_has_as_many_cells_as_columns():
    lines = [line for line in table.summary_of(records()).splitlines() if line.startswith("|")]
    assert len(lines) > 10
    widths = {line.count("|") for line in lines}
    assert widths <= {4, 5}
    assert "**Morphospace**" in table.summary_of(records())


def test_curves_of_several_days_say_so():
    assert "Measured 2026-01-02 and 2026-01-03, " in table.summary_of(records())
    assert "commit abc.\n" in table.summary_of(records())


# ---------------------------------------------------------------- all of it, small


@pytest.fixture
def small(tmp_path, monkeypatch) -> Iterator[Plan]:
    """The tiny plan without the peers, which may not be installed here; `make bench-tiny` runs it with them."""
    monkeypatch.setattr(throughput, "REFERENCE", ("pytorch", "morphospace:reference"))
    monkeypatch.setattr(throughput, "OTHERS", ())
    plan = replace(PLANS["tiny"], name="small", curves=(("morphospace:vae", 2),))
    monkeypatch.setitem(PLANS, "small", plan)
    return plan


@pytest.mark.timeout(900)  # on a busy machine five imports of torch take long
def test_a_small_run_writes_its_files_and_prints_its_tables(small, tmp_path, capsys):
    run.main(["--plan", "small", "--out", str(tmp_path), "--only", "throughput", "--only", "time-to-elbo"])
    out = capsys.readouterr().out
    speed = json.loads((tmp_path / "throughput.json").read_text())
    ours = speed["subjects"]["morphospace:reference"]
    assert len(ours["rounds"]) == small.rounds
    assert ours["parameters"] == PARAMETERS
    assert ours["loss"] == pytest.approx(
        speed["subjects"]["pytorch"]["loss"], rel=throughput.CLOSE["bfloat16"]
    )
    assert 0 < ours["fraction_of_peak"]["float32"] < 1.5
    assert ours["images_per_second"]["median"] > BATCH / 60
    assert set(speed["machine"]) >= {"processor", "cores", "instructions", "memory_gib"}
    curve = json.loads((tmp_path / "time-to-elbo.json").read_text())["runs"][0]["points"]
    assert [point["epoch"] for point in curve] == sorted(point["epoch"] for point in curve)
    assert all(a["seconds"] < b["seconds"] for a, b in pairwise(curve))
    assert "Training the original study's network (1,361,821 weights)" in out
    assert "`memory`: not measured yet" in out


def test_the_parts_are_those_that_the_tables_know():
    assert {*table.SUMMARY, *table.DETAILS} == set(run.PARTS)


def test_peak_memory_is_this_process_own():
    before = machine.peak_memory()
    kept = bytearray(64 * 2**20)
    assert machine.peak_memory() >= max(before, 64)
    assert len(kept) == 64 * 2**20


def test_the_committed_results_are_full_runs():
    for name, record in table.read(table.RESULTS).items():
        if name in run.PARTS:
            assert record["plan"] == "full", name
            assert record["left_out"] == [], name


# ---------------------------------------------------------------- the single commands


@pytest.mark.timeout(900)
def test_the_gpu_benchmark_runs_on_a_cpu_but_for_its_timing(tmp_path, capsys):
    out = tmp_path / "gpu.json"
    gpu.main(["--device", "cpu", "--tiny", "--out", str(out)])
    found = json.loads(out.read_text())
    assert found["tiny"]
    assert set(found["reference_epoch"]) == {"as chosen", "float32", "bfloat16"}
    for run_ in found["default"].values():
        curve = [point["seconds"] for point in run_["points"]]
        assert curve == sorted(curve)
        assert run_["points"][-1]["neg_elbo"] == pytest.approx(run_["final"]["neg_elbo"], rel=0.02)
    assert "| default recipe to 257.5 nats, warm | not reached |" in capsys.readouterr().out


def test_the_gpu_benchmark_says_that_there_is_none(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit):
        gpu.main([])
    assert "--device cpu --tiny" in capsys.readouterr().err


def test_a_step_divides_into_kinds_of_work():
    found = roofline.step(ms.load("garments", count=256).train, "float32", 2)
    assert set(found["by_kind"]) == {*roofline.KINDS, "the rest"}
    assert found["by_kind"]["products"] > found["by_kind"]["optimizer"] > 0
    # Two threads work at once, but torch's profiler watches the one that calls: its times add up to about a step's.
    assert 0.3 < sum(found["by_kind"].values()) / found["seconds"] < 5


def test_the_bounds_of_a_step_follow_from_its_parts():
    kinds = {"products": 0.4, "optimizer": 0.1, "the rest": 0.3}
    step = {"batch": 10, "seconds": 0.8, "by_kind": kinds}
    record = {"flops_per_image": 2.0, "peak_flops": {"float32": 100.0, "bfloat16": 200.0}}
    told = roofline.table({**record, "steps": {"float32": step, "bfloat16": step}})
    assert "| fraction of the peak | 0.25 | 0.12 |" in told
    assert "| the fraction, if all but the products cost nothing | 0.50 | 0.25 |" in told
    assert "| the fraction, if the products ran at the peak | 0.33 | 0.20 |" in told


def test_when_compiling_pays():
    fast = {"compile_seconds": 30.0, "plain": {"median": 6_000.0}, "compiled": {"median": 12_000.0}}
    assert compiled.epochs_to_pay(fast) == pytest.approx(6.0)  # 10 s an epoch, then 5 s
    assert compiled.epochs_to_pay({**fast, "compiled": {"median": 5_000.0}}) is None


def test_settings_are_chosen_without_the_test_images():
    images = ms.load("garments", count=200)
    chosen_by = quality.without_test(images, 30)
    assert len(chosen_by) == len(images.train)
    assert len(chosen_by.test) == 30
    assert np.array_equal(chosen_by.test.pixels, images.train.pixels[-30:])
    line = {"changes": {"minutes": "30"}, "results": {"test": {"neg_elbo": 1.0, "draws": 10}}}
    held_out = {"quality": {"lines": [{**line, "measured_on": "held-out"}]}}
    assert table.bars(held_out) == table.bars({})
