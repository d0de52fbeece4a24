"""Searches in rounds: the same settings, decisions and records, whatever happens to the sweep."""

import json
import random
import time
from pathlib import Path

import pytest

from conftest import Project, kill_group, outcome, wait_for

TRAINING = """
import os
import time

def train(run, *, lr: float = 0.1, width: int = 8, name: str = "a", epochs: int = 4, seed: int = 0):
    if width == 53:
        raise ValueError("53 is too wide")
    if width == 54:
        os.kill(os.getpid(), 9)
    state = {"w": 1.0}
    run.restore(state=state)
    for epoch in run.epochs(epochs):
        time.sleep(0.03)
        noise = run.rng("noise").random()
        state["w"] *= 1 - lr * (1 + 0.01 * noise)
        run.log(train_loss=abs(state["w"]), val_loss=abs(state["w"]) + 1 / width)
    return {"test_loss": abs(state["w"])}
"""
PROGRAM = """
epoch=$(cat "$3/epoch" 2>/dev/null || echo 0)
while [ "$epoch" -lt "$2" ]; do
  epoch=$((epoch + 1))
  echo "{\\"epoch\\": $epoch, \\"val_loss\\": $(echo "$1 $epoch" | awk '{print $1 / $2}')}" >> "$4"
  echo "$epoch" > "$3/new" && mv "$3/new" "$3/epoch"
  sleep 0.1
done
echo '{"test_loss": 1}' >> "$4"
"""
SPACE = {"lr": {"log_uniform": [0.001, 5]}, "width": {"int_uniform": [4, 64]}}
CONFIG = {
    "defaults": {"train": "my_training:train"},
    "experiments": {
        "model": {"search": {"method": "tpe", "n": 6, "startup": 3, "parallel": 2, **SPACE}, "figures": []},
        "halve": {"search": {"method": "halving", "n": 4, "eta": 2, **SPACE}, "seeds": 2, "figures": []},
        "killed": {"search": {"method": "halving", "n": 2, "eta": 2, "width": SPACE["width"]}, "figures": []},
        "hours": {
            "search": {"method": "tpe", "n": 4, "startup": 1, "parallel": 1, "max_hours": 1e-9, "lr": SPACE["lr"]},
            "figures": [],
        },
        "race": {
            "grid": {"lr": [0.1, 0.5], "name": ["a", "b"]},
            "search": {"method": "race", "first": 2},
            "seeds": 4,
            "figures": [],
        },
        "program": {
            "command": "sh program.sh {lr} {epochs} {checkpoint} {metrics}",
            "epochs": 4,
            "search": {"method": "halving", "n": 2, "eta": 2, "lr": SPACE["lr"]},
            "figures": [],
        },
    },
}
N_SLOTS = 6 + 4 + 2 * (4 + 2 + 1) + 4 * (2 + 1 + 1) + 2 * (2 + 1 + 1)


def new_project(folder: Path, **changes: dict) -> Project:
    folder.mkdir()
    project = Project(folder)
    (folder / "my_training.py").write_text(TRAINING)
    (folder / "program.sh").write_text(PROGRAM)
    configure(project, **changes)
    return project


def configure(project: Project, **changes: dict) -> None:
    experiments = {**CONFIG["experiments"], **changes}
    for name, change in changes.items():
        if name in CONFIG["experiments"]:
            old = CONFIG["experiments"][name]
            experiments[name] = {**old, "search": {**old["search"], **change}}
    project.configure({**CONFIG, "experiments": experiments})


def course(project: Project) -> dict[str, str]:
    """What a search has written, but for the times."""
    found = {}
    for path in sorted((project.results / "search").rglob("*.json")):
        content = json.loads(path.read_text())
        if "record" in content:
            content["record"] = outcome(content["record"])
        found[str(path.relative_to(project.results))] = json.dumps(content, sort_keys=True)
    return found


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = new_project(tmp_path_factory.mktemp("search") / "undisturbed")
    first = project.snakemake("--retries", "1", cores=8)  # which is no other start: nobody has seen the error yet
    assert first.returncode == 1
    assert "ValueError: 53 is too wide\n" in first.stderr, first.stderr
    assert "if the next start fails in the same way, it counts as the worst, and the search goes on" in first.stderr
    assert "\n    killed by signal 9 (SIGKILL)\n" in first.stderr
    release(project, first.stderr)
    done = project.snakemake(cores=8)
    assert done.returncode == 0, done.stdout + done.stderr
    told = [line for line in done.stderr.splitlines() if "counts as the worst of its search" in line]
    assert len(told) == 4, done.stderr
    assert told[0].startswith("warning: model lr=1.76704378848 width=53: counts as the worst of its search: ValueError")
    return project


def release(project: Project, said: str) -> None:
    """Do what a start says of the run that is killed each time: who does it, the search cannot know."""
    table = said[said.index("\nkilled width=54: interrupted after epoch 0 of 4\n") :]
    words, command = table.splitlines()[5].split(": ")
    assert words == "    its search waits for it; to count it as the worst and go on", table
    done = project.run(*command.split())
    assert done.returncode == 0, done.stderr
    again = project.run(*command.split())
    assert (again.returncode, again.stderr) == (1, f"error: {command.split()[-1]}: no search waits for this run\n")


def test_a_search_ends_with_ordinary_records_and_nothing_to_do(undisturbed: Project):
    """Also where a setting cannot be trained: it fails in two starts, and then counts as the worst."""
    records = undisturbed.records()
    assert sum(name.startswith("model-") for name in records) == 5
    failed = [content for content in map(json.loads, course(undisturbed).values()) if content.get("status") == "failed"]
    assert [one["setting"]["width"] for one in failed] == [53, 53, 54, 53]
    whole = [record for name, record in records.items() if name.startswith("halve-")]
    slots = [json.loads(text) for name, text in course(undisturbed).items() if name.startswith("search/halve-")]
    assert {len(record["epochs"]) for record in whole if record["status"] == "finished"} == {4}
    ended = {one["hash"] for one in slots if one.get("status") in ("pruned", "failed")}
    stopped = ended - {record["hash"] for record in whole}
    assert len(stopped) + len(whole) == 2 * 4  # a setting that diverges has a record, too
    assert {record["status"] for record in records.values()} <= {"finished", "diverged"}
    assert undisturbed.has_nothing_to_do()
    verified = undisturbed.run("python", "scripts/sweep.py", "verify")
    assert verified.returncode == 0, verified.stdout
    orphans = undisturbed.run("python", "scripts/sweep.py", "orphans")
    assert orphans.stdout.startswith("0 records")


def test_a_race_gives_more_seeds_only_to_those_that_cannot_be_told_apart(undisturbed: Project):
    """A `name` changes nothing, so nothing tells two of them apart; the smaller rate is clearly worse."""
    raced = [record["setting"] for name, record in undisturbed.records().items() if name.startswith("race-")]
    seeds = {
        (lr, name): sorted(one["seed"] for one in raced if (one["lr"], one["name"]) == (lr, name))
        for lr in (0.1, 0.5)
        for name in "ab"
    }
    assert seeds == {(0.1, "a"): [0, 1], (0.1, "b"): [0, 1], (0.5, "a"): [0, 1, 2, 3], (0.5, "b"): [0, 1, 2, 3]}
    written = [json.loads(text) for path, text in course(undisturbed).items() if path.startswith("search/race-")]
    assert sum(one.get("status") == "skipped" for one in written) == 4
    assert "12 of 16 runs were needed" in (undisturbed.results / "leaderboard.md").read_text()


def test_killed_anywhere_and_one_at_a_time_it_takes_the_same_course(
    undisturbed: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Also where each run has been a process of its own for a while, eight at a time."""
    project = new_project(tmp_path / "killed")
    generator = random.Random(7)
    for is_cold in (False, True, False):
        monkeypatch.setenv("DLSWEEP_WARM", "0") if is_cold else monkeypatch.delenv("DLSWEEP_WARM", raising=False)
        process = project.start(cores=8 if is_cold else 1)
        before = len(course(project))
        wait_for(lambda process=process, before=before: process.poll() is not None or len(course(project)) > before)
        time.sleep(generator.uniform(0, 0.6))
        kill_group(process)
    status = project.run("python", "scripts/sweep.py", "status")
    assert f"of {N_SLOTS} runs are done" in status.stdout, status.stdout + status.stderr
    assert "round" in status.stdout
    assert " left" not in status.stdout  # nobody knows what the rounds that are not decided take
    assert len(course(project)) < len(course(undisturbed))  # there was something left to kill
    for _ in range(3):  # a setting that fails may have to fail twice
        done = project.snakemake(cores=1)
        if not done.returncode:
            break
        if "killed width=54" in done.stderr:
            release(project, done.stderr)
    assert done.returncode == 0, done.stdout + done.stderr
    assert course(project) == course(undisturbed)
    assert project.outcomes() == undisturbed.outcomes()


def test_a_larger_budget_keeps_all_that_was_run(undisturbed: Project):
    """More rounds of a model; more settings to halve, of which those that were tried go on from where they are."""
    records, decided = undisturbed.records(), course(undisturbed)
    modified = {path: path.stat().st_mtime_ns for path in undisturbed.results.glob("*-*.json")}
    stale = next(undisturbed.results.glob("search/halve-*"))
    left_out = "hours: 3 of 4 runs were left out, since its 1e-09 hours of training are spent (max_hours)\n"
    assert left_out in undisturbed.run("python", "scripts/sweep.py", "status").stdout
    assert "3 runs were left out, since" in (undisturbed.results / "leaderboard.md").read_text()
    assert len([name for name in records if name.startswith("hours-")]) == 1
    configure(undisturbed, model={"n": 9}, halve={"n": 8}, hours={"max_hours": 1})
    done = undisturbed.snakemake(cores=4)
    assert done.returncode == 0, done.stdout + done.stderr
    assert {path: path.stat().st_mtime_ns for path in modified} == modified
    kept = {path: text for path, text in decided.items() if not path.startswith("search/hours-")}
    assert kept.items() <= course(undisturbed).items()
    assert len([name for name in undisturbed.records() if name.startswith("hours-")]) == 4
    assert len([name for name in undisturbed.records() if name.startswith("model-")]) == 9 - 1
    assert records.items() <= undisturbed.records().items()
    orphans = undisturbed.run("python", "scripts/sweep.py", "orphans", "--delete")
    assert orphans.stdout.splitlines()[-1] == "0 records and 1 search are named by no config; deleted", orphans.stderr
    assert not stale.exists() and len(list(undisturbed.results.glob("search/halve-*"))) == 1


def test_who_asks_for_a_pruned_setting_in_full_goes_on_from_its_checkpoint(undisturbed: Project, tmp_path: Path):
    stopped = next(
        one
        for one in map(json.loads, course(undisturbed).values())
        if one.get("status") == "pruned" and not list(undisturbed.results.glob(f"*-{one['hash']}.json"))
    )
    setting = {key: stopped["setting"][key] for key in ("lr", "width", "seed")}
    configure(undisturbed, halve={"n": 8}, full=setting)
    anew = new_project(tmp_path / "anew")
    anew.configure({"defaults": CONFIG["defaults"], "experiments": {"full": setting}})
    for project in (undisturbed, anew):
        done = project.snakemake("full")
        assert done.returncode == 0, done.stdout + done.stderr
    name = f"full-{stopped['hash']}.json"
    went_on, begun = undisturbed.records()[name], anew.records()[name]
    assert went_on["timing"]["resumed"] >= 1 and begun["timing"]["resumed"] == 0
    assert outcome(went_on) == outcome(begun)

    # Its slots are the same where it was trained in full before them.
    before, records = course(undisturbed), undisturbed.outcomes()
    slots = [path for path, text in before.items() if json.loads(text).get("hash") == stopped["hash"]]
    assert slots
    for path in slots:
        (undisturbed.results / path).unlink()
    done = undisturbed.snakemake("halve")
    assert done.returncode == 0, done.stdout + done.stderr
    assert course(undisturbed) == before
    assert undisturbed.outcomes() == records


def test_what_is_lost_or_torn_is_made_again(undisturbed: Project):
    """A record for its slot, a slot from its record, and a decision from the slots before it."""
    (folder,) = undisturbed.results.glob("search/model-*")
    before, records = course(undisturbed), undisturbed.outcomes()
    name = f"model-{json.loads((folder / '2-0.json').read_text())['hash']}.json"
    (undisturbed.results / name).unlink()
    torn, decision = folder / "2-1.json", folder / "3.json"
    for path in (torn, decision):
        path.write_text(path.read_text()[:-9])
    refused = undisturbed.snakemake("-n")
    assert refused.returncode == 1
    told = "is not the decision of a round; delete it, and the next start decides again"
    assert f"error: results/{decision.relative_to(undisturbed.results)}: {told}" in refused.stderr, refused.stderr
    decision.unlink()
    done = undisturbed.snakemake("model")
    assert done.returncode == 0, done.stdout + done.stderr
    assert course(undisturbed) == before
    assert undisturbed.outcomes() == records
