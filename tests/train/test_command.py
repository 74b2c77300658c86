"""``cutaway train`` and what belongs to it, as a user types it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_cli import run as cli
from train.small import WORDS, corpus, recipe
from train.test_material import pairs, translating

import cutaway
from cutaway.train import checkpoints, recipes


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a text of a hundred lines and a small recipe for it."""
    monkeypatch.chdir(tmp_path)
    corpus(tmp_path, 100)
    Path("small.json").write_text(json.dumps(recipes.as_json(recipe("corpus.txt"))))
    return tmp_path


def files(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir() if p.name[0] != "."}


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    """The one line of an error; nothing else was printed, nothing was made."""
    before = sorted(Path.cwd().rglob("*"))
    code, out, err = cli(capsys, *words)
    assert code == 2
    assert out == ""
    assert err.count("\n") == 1, err
    assert sorted(Path.cwd().rglob("*")) == before
    return err


def test_a_run_from_a_recipe_file(capsys, place: Path) -> None:
    code, out, _ = cli(capsys, "train", "small.json", "--optimizer.lr", "1e-2")
    assert code == 0
    run = place / "runs" / "small"
    assert files(run) == {"recipe.json", "metrics.jsonl", "curve.svg", "model", "step_000008", "step_000012"}
    assert recipes.read(run / "recipe.json").optimizer.lr == 1e-2
    for said in ("finished after 12 steps", "bits per byte on unseen files", "model       runs/small/model", "Next:"):
        assert said in out
    code, out, _ = cli(capsys, "generate", run, "the ", "--max-new-tokens", 5)
    assert code == 0
    assert out == cutaway.load(run).generate("the ", max_new_tokens=5) + "\n"
    assert cli(capsys, "train", "small.json")[0] == 0
    assert files(place / "runs") == {"small", "small-2"}


def test_the_proof(capsys, place: Path) -> None:
    cli(capsys, "train", "small.json", "--name", "a")
    code, out, _ = cli(capsys, "check", "runs/a", "--resume")
    assert code == 0
    assert "resuming is exact, bit for bit" in out
    assert "steps 13 to 18 at once" in out
    assert "runs holds no run: it has no recipe.json" in refused(capsys, "check", "runs", "--resume")


def test_runs(capsys, place: Path) -> None:
    assert "there is no folder runs" in refused(capsys, "runs")
    code, out, _ = cli(capsys, "train", "small.json", "small.json", "--steps", 3)
    assert code == 0
    assert "curves: runs/comparison.svg" in out
    assert (place / "runs" / "comparison.svg").read_text().startswith("<svg")
    code, out, _ = cli(capsys, "runs")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[1:]] == ["small", "small-2"]
    assert out.count("finished") == 2


def test_two_recipes_are_compared(capsys, place: Path) -> None:
    other = json.loads(Path("small.json").read_text()) | {"seed": 5}
    Path("other.json").write_text(json.dumps(other))
    code, out, _ = cli(capsys, "train", "small.json", "other.json", "--steps", 3, "--evaluate.every", 1)
    assert code == 0
    row = next(line.split() for line in out.splitlines() if line.startswith("seed"))
    assert row == ["seed", "0", "5"]
    picture = (place / "runs" / "comparison.svg").read_text()
    assert "small" in picture
    assert "other" in picture


def test_show_prints_a_recipe_that_can_be_used(capsys, place: Path) -> None:
    code, out, _ = cli(capsys, "train", "small.json", "--show", "--steps", 7, "--model.depth", 1)
    assert code == 0
    Path("again.json").write_text(out)
    again = recipes.read("again.json")
    assert (again.steps, again.model.depth) == (7, 1)
    assert files(place) == {"small.json", "again.json", "corpus.txt"}
    code, out, _ = cli(capsys, "train", "transformer-base", "transformer-big", "--show")
    assert "model.width: 512 -> 1024" in out
    assert "save.average: 5 -> 20" in out


def test_plan_makes_nothing(capsys, place: Path) -> None:
    code, out, _ = cli(capsys, "train", "gpt2-124m", "--plan", "--device", "h100", "--devices", 8)
    assert code == 0
    assert "memory of a device" in out
    assert "bottleneck" in out
    assert files(place) == {"small.json", "corpus.txt"}


def test_a_stopped_run_goes_on(capsys, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli(capsys, "train", "small.json", "--name", "whole")[0] == 0
    from cutaway.train.loop import Loop

    real = Loop.step

    def step(self: Loop) -> dict[str, float]:
        if self.progress.step == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return real(self)

    with monkeypatch.context() as patch:
        patch.setattr(Loop, "step", step)
        code, out, _ = cli(capsys, "train", "small.json", "--name", "cut")
    assert code == 130
    assert out.splitlines()[-1] == "to go on: cutaway train --resume runs/cut"
    assert "stopped by SIGINT after 6 steps" in out
    assert "is there already: resume it" in refused(capsys, "train", "small.json", "--name", "cut")
    assert "nothing goes with --resume" in refused(capsys, "train", "--resume", "runs/cut", "--steps", 100)
    assert cli(capsys, "train", "--resume", "runs/cut")[0] == 0
    weights = [cutaway.load(place / "runs" / name).state_dict() for name in ("whole", "cut")]
    assert all(torch.equal(weights[0][n], weights[1][n]) for n in weights[0])
    assert "is finished; go on from it in a new run" in refused(capsys, "train", "--resume", "runs/cut")


def test_again_begins_or_goes_on(capsys, place: Path) -> None:
    words = ("train", "small.json", "--name", "a", "--again")
    from cutaway.train import run

    run.start(recipes.read("small.json"), Path("runs/a"), lambda text: None).loop.run(until=5)
    code, out, _ = cli(capsys, *words)
    assert code == 0
    assert "press Ctrl-C" not in out
    code, out, _ = cli(capsys, *words[:3], "b", "--again")
    assert code == 0
    assert "press Ctrl-C" in out
    assert checkpoints.steps(Path("runs/a")) == checkpoints.steps(Path("runs/b"))


@pytest.mark.parametrize(("every", "stays"), [(1, "the checkpoint of step "), (9, "there was no checkpoint yet")])
def test_nan_is_told_with_what_is_left(every: int, stays: str, capsys, place: Path) -> None:
    words = ("--optimizer.lr", "1e30", "--schedule.warmup", 0, "--save.every", every)
    code, _, err = cli(capsys, "train", "small.json", *words)
    assert code == 1
    assert err.startswith("cutaway: training stopped: step ")
    assert err.splitlines()[1].startswith(stays)
    assert err.splitlines()[1].endswith("; try a lower --optimizer.lr")


def test_fine_tuning_with_lora(capsys, place: Path) -> None:
    cli(capsys, "train", "small.json", "--name", "base")
    code, out, _ = cli(
        capsys, "train", "--from", "runs/base", "--data.train", "corpus.txt", "--data.unit", "line", "--lora.rank", 2,
        "--steps", 3, "--batch.length", 32, "--name", "tuned",
    )  # fmt: skip
    assert code == 0
    assert "of them training" in out
    assert "adapter" in files(place / "runs" / "tuned")
    base, tuned = (cutaway.load(place / "runs" / name).state_dict() for name in ("base", "tuned"))
    changed = {n for n in base if not torch.equal(base[n], tuned[n])}
    assert changed
    assert all("attention" in n for n in changed), changed


def test_a_translator(capsys, place: Path) -> None:
    Path("pairs.json").write_text(json.dumps(recipes.as_json(translating(pairs(place), steps=2))))
    assert cli(capsys, "train", "pairs.json")[0] == 0
    code, out, err = cli(capsys, "translate", "runs/pairs", "word 3")
    assert code == 0, err
    assert out.endswith("\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["stdlb"], "no recipe 'stdlb', and no such file; did you mean stdlib?"),
        (["quite-another"], "no recipe 'quite-another', and no such file; there are stdlib, dates"),
        (["none.json"], "none.json: No such file or directory"),
        (["small.json", "--data.train", "none.txt"], "no file none.txt"),
        (["small.json", "--batch.rows", "0"], "batch.rows is at least 1, got 0"),
        (["small.json", "--clip", "-1"], "clip is at least 0, got -1"),
        (["small.json", "--objective", "causal"], "no objective 'causal'; there are: causal-lm, masked-lm"),
        (
            ["small.json", "--from", "no/such", "--model.depth", "3"],
            "--model.depth: the model to go on from is as it is",
        ),
        (["small.json", "small.json", "--name", "a"], "--name is for one run, and there are 2 recipes"),
        (["small.json", "--processes", "2"], "a run on several ranks needs a name"),
        (["small.json", "--plan", "--device", "abacus"], "no device 'abacus' in the table; there are: h100"),
        (["--resume", "runs/none"], "runs/none holds no run"),
        (["--from", "./none", "--data.train", "corpus.txt"], "none"),
        (["broken.json"], "broken.json: line 1"),
        (["typo.json"], "typo.json: 'stepps' is no key; did you mean steps?"),
        (["inner.json"], "inner.json: optimizer: 'lrr' is no key; did you mean lr?"),
        (["kind.json"], "kind.json: steps: "),
        (["small.json", "--model-type", "lama"], "'lama'"),
    ],
)
def test_bad_input_is_one_clear_line(words: list[str], said: str, capsys, place: Path) -> None:
    Path("broken.json").write_text("{")
    Path("typo.json").write_text('{"stepps": 3}')
    Path("inner.json").write_text('{"optimizer": {"lrr": 3}}')
    Path("kind.json").write_text('{"steps": "many"}')
    assert said in refused(capsys, "train", *words)


@pytest.mark.parametrize("option", ["--from", "--resume", "--steps"])
def test_an_option_without_its_value(option: str, capsys, place: Path) -> None:
    code, out, err = cli(capsys, "train", option)
    assert code == 2
    assert f"Missing value for argument '{option}'" in out + err


def test_a_typo_of_an_option_is_told_with_the_nearest(capsys, place: Path) -> None:
    code, out, err = cli(capsys, "train", "small.json", "--optimzer.lr", 1)
    assert code == 2
    assert "--optimizer.lr" in out + err
    assert files(place) == {"small.json", "corpus.txt"}


def test_a_folder_that_cannot_be_written(capsys, place: Path) -> None:
    Path("file").touch()
    err = refused(capsys, "train", "small.json", "--runs", "file/runs")
    assert err == "cutaway: file/runs/.data: Not a directory\n"


def test_help_names_the_recipes(capsys, place: Path) -> None:
    code, out, _ = cli(capsys, "train", "--help")
    assert code == 0
    assert "transformer-base" in out
    assert "--optimizer.lr" in out


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "cutaway.cli", *words]


@pytest.mark.slow
def test_a_real_process_with_the_defaults_but_for_data_and_steps(place: Path) -> None:
    """Lines without control characters, and all it says in order; the second one is stopped by Ctrl-C."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    words = ["train", "--data.train", "corpus.txt", "--data.unit", "line", "--tokens.vocab", "300"]
    done = subprocess.run(
        command(*words, "--steps", "2", "--name", "a"), env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "\x1b" not in done.stdout
    assert "byte 5-gram" in done.stdout
    assert any(word in done.stdout for word in WORDS)
    words += ["--steps", "100000", "--minutes", "None", "--evaluate.every", "2", "--name", "b"]
    pipes = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with subprocess.Popen(command(*words), env=environment, **pipes) as process:
        assert next(line for line in process.stdout if line.startswith("step 2/"))
        process.send_signal(signal.SIGINT)
        out, err = process.stdout.read(), process.stderr.read()
    assert process.returncode == 130, err
    assert err == ""
    assert out.splitlines()[-1] == "to go on: cutaway train --resume runs/b"


def losses(run: Path) -> list[float]:
    """Of every step and every validation, in order."""
    records = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    return [record["loss"] for record in records if "loss" in record]


@pytest.mark.slow
@pytest.mark.parametrize("how", ["--parallel.data ddp", "--parallel.data fsdp", "--parallel.tensor 2"])
def test_two_ranks_train_as_one_process_and_leave_each_other_before_they_end(how: str, place: Path) -> None:
    """Gradients are cut, validation is by a running mean: both touch weights and gradients that ranks share."""
    still = "--model.dropout 0 --model.embed-dropout 0 --model.attention-dropout 0"
    words = f"train small.json --ema 0.5 --clip 0.01 --evaluate.every 2 {still}".split()
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    launch = ["-m", "torch.distributed.run", "--standalone", "--max-restarts", "0", "--nproc-per-node", "2"]
    left = [sys.executable, *launch, str(Path(__file__).with_name("left.py"))]
    for start in (command(*words, "--name", "one"), [*left, *words, "--name", "two", *how.split()]):
        done = subprocess.run(start, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert (place / "runs" / "two" / "model").is_dir()
    one, two = losses(place / "runs" / "one"), losses(place / "runs" / "two")
    assert len(one) > 5
    assert two == pytest.approx(one, rel=1e-4)
